"""Networks of 3DETR against NumPy, and boxes decoded by hand."""
import math

import numpy as np
import pytest
import torch
from torch import nn

from opendlign_mm.detection.three_detr.box_coder import (
    BoxBranches,
    SceneBounds,
    decode_angle,
    decode_boxes,
    encode_angle,
)
from opendlign_mm.detection.three_detr.set_abstraction import SetAbstraction, pointwise_mlp
from opendlign_mm.detection.three_detr.transformer import DecoderLayer, FourierPositions, PointEncoder, QueryDecoder


def randomized(module, seed=0):
    """The module in evaluation mode, with every parameter and buffer drawn at random, biases and norms included."""
    generator = torch.Generator().manual_seed(seed)
    for tensor in [*module.parameters(), *module.buffers()]:
        if tensor.is_floating_point():
            tensor.data = torch.rand(tensor.shape, generator=generator) + (.5 if tensor.dim() == 1 else -.5)
    return module.eval()


def numbers(*shape, seed=1):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


# --- transformer in NumPy -------------------------------------------------------------------------------------------

def norm(module, x):
    centered = x - x.mean(-1, keepdims=True)
    scaled = centered / np.sqrt((centered**2).mean(-1, keepdims=True) + 1e-5)
    return scaled * module.weight.detach().numpy() + module.bias.detach().numpy()


def linear(module, x):
    return x @ module.weight.detach().numpy().T + module.bias.detach().numpy()


def attention(module, queries, keys, values, hidden=None):
    """Multi-head attention of one scene: (K, C), (M, C), (M, C); ``hidden`` (K, M) marks pairs that do not attend."""
    weight, bias = module.in_proj_weight.detach().numpy(), module.in_proj_bias.detach().numpy()
    channels = queries.shape[1]
    parts = [x @ weight[i * channels:(i + 1) * channels].T + bias[i * channels:(i + 1) * channels]
             for i, x in enumerate((queries, keys, values))]
    width, heads = channels // module.num_heads, []
    for head in range(module.num_heads):
        q, k, v = (part[:, head * width:(head + 1) * width] for part in parts)
        logits = q @ k.T / math.sqrt(width)
        logits = logits if hidden is None else np.where(hidden, -np.inf, logits)
        shares = np.exp(logits - logits.max(1, keepdims=True))
        heads.append(shares / shares.sum(1, keepdims=True) @ v)
    return linear(module.out_proj, np.concatenate(heads, axis=1))


def encoder_layer(layer, x, hidden=None):
    normed = norm(layer.norm1, x)
    x = x + attention(layer.self_attn, normed, normed, normed, hidden)
    return x + linear(layer.linear2, np.maximum(linear(layer.linear1, norm(layer.norm2, x)), 0))


def decoder_layer(layer, queries, memory, query_positions, memory_positions):
    normed = norm(layer.norm1, queries)
    placed = normed + query_positions
    queries = queries + attention(layer.self_attention, placed, placed, normed)
    placed = norm(layer.norm2, queries) + query_positions
    queries = queries + attention(layer.cross_attention, placed, memory + memory_positions, memory)
    return queries + linear(layer.linear2, np.maximum(linear(layer.linear1, norm(layer.norm3, queries)), 0))


def close(actual, expected):
    np.testing.assert_allclose(actual.detach().numpy(), expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize('radii', [None, (1.5, .9)])
def test_encoder(radii):
    """Pre-norm layers; points at or beyond the radius of a layer do not attend to each other."""
    encoder = randomized(PointEncoder(8, num_layers=2, num_heads=2, feedforward_channels=6, masking_radii=radii))
    xyz, features = numbers(2, 9, 3), numbers(2, 9, 8, seed=2)
    xyz[0, 1] = xyz[0, 0] + torch.tensor([1.5, 0, 0])  # exactly at the radius of the first layer
    same, encoded = encoder(xyz, features)
    assert torch.equal(same, xyz)
    for scene in (0, 1):
        x = features[scene].numpy()
        distances = np.linalg.norm(xyz[scene].numpy()[:, None] - xyz[scene].numpy()[None], axis=2)
        for number, layer in enumerate(encoder.layers):
            x = encoder_layer(layer, x, None if radii is None else distances >= radii[number])
        close(encoded[scene], x)


def test_downsampling_follows_the_first_layer():
    options = dict(num_points=4, radius=1.2, num_samples=5, channels=(8, 8))
    encoder = randomized(PointEncoder(8, 2, 2, 6, masking_radii=(1., 2.), downsampling=options))
    xyz, features = numbers(1, 12, 3) + 1, numbers(1, 12, 8, seed=2)
    points, encoded = encoder(xyz, features)
    distances = np.linalg.norm(xyz[0].numpy()[:, None] - xyz[0].numpy()[None], axis=2)
    first = torch.from_numpy(encoder_layer(encoder.layers[0], features[0].numpy(), distances >= 1.))[None].float()
    fewer, pooled = encoder.downsampling(xyz, first)
    assert torch.equal(points, fewer) and points.shape == (1, 4, 3)
    distances = np.linalg.norm(fewer[0].numpy()[:, None] - fewer[0].numpy()[None], axis=2)
    assert (distances >= 2.).any() and (distances < 2.).any()
    close(encoded[0], encoder_layer(encoder.layers[1], pooled[0].detach().numpy(), distances >= 2.))


@pytest.mark.parametrize('given', [False, True])
def test_decoder(given):
    """Positions are added to queries and keys, not to values; one norm is applied to the output of each layer."""
    decoder = randomized(QueryDecoder(8, num_layers=3, num_heads=2, feedforward_channels=6))
    memory, memory_positions = numbers(2, 7, 8), numbers(2, 7, 8, seed=2)
    positions, queries = numbers(2, 5, 8, seed=3), numbers(2, 5, 8, seed=4)
    decoded = decoder(memory, positions, memory_positions, queries if given else None)
    assert decoded.shape == (3, 2, 5, 8)
    for scene in (0, 1):
        x = queries[scene].numpy() if given else np.zeros((5, 8))
        for number, layer in enumerate(decoder.layers):
            x = decoder_layer(layer, x, *(value[scene].numpy() for value in (memory, positions, memory_positions)))
            close(decoded[number, scene], norm(decoder.norm, x))


def test_defaults_are_those_of_3detr():
    """Encoder: 3 layers, 4 heads, width 128, dropout 0.1. Decoder: 8 layers, 4 heads, width 256, dropout 0.1."""
    encoder, decoder = PointEncoder(8), QueryDecoder(8)
    assert len(encoder.layers) == 3 and len(decoder.layers) == 8
    for layer in encoder.layers:
        assert layer.self_attn.num_heads == 4 and layer.linear1.out_features == 128 and layer.dropout.p == .1
        assert layer.self_attn.dropout == layer.dropout1.p == layer.dropout2.p == .1
    for layer in decoder.layers:
        assert layer.self_attention.num_heads == layer.cross_attention.num_heads == 4
        assert layer.linear1.out_features == 256
        assert layer.dropout.p == layer.self_attention.dropout == layer.cross_attention.dropout == .1
    assert BoxBranches(8, 2, 1)['cls'][3].p == .3


def test_weights_begin_uniform_in_the_bounds_of_xavier():
    """sqrt(6 / (inputs + outputs)); PyTorch's own linear layers would begin within 1 / sqrt(inputs)."""
    torch.manual_seed(0)
    layers = [*PointEncoder(64, 1).layers, *QueryDecoder(64, 1).layers]
    for layer in layers:
        for weight in (layer.linear1.weight, layer.linear2.weight):
            bound = math.sqrt(6 / sum(weight.shape))
            assert .98 * bound < weight.abs().max() <= bound


def test_wrong_options_of_the_encoder():
    with pytest.raises(ValueError, match='each of 3 layers, got 2'):
        PointEncoder(8, 3, masking_radii=(1., 2.))
    with pytest.raises(ValueError, match=r'downsampling.channels must be 8, got 16'):
        PointEncoder(8, downsampling=dict(num_points=4, radius=1., num_samples=4, channels=(8, 16)))


def test_fourier_features():
    module = FourierPositions(6)
    module.frequencies.copy_(torch.tensor([[1., 0, .5], [0, 2, 0], [0, 0, 0]]))
    features = module(torch.tensor([[[.25, .125, .9]]]))[0, 0]
    close(features, [1, 1, math.sqrt(.5), 0, 0, math.sqrt(.5)])
    torch.manual_seed(0)
    frequencies = FourierPositions(4000).frequencies
    assert frequencies.shape == (3, 2000) and frequencies.std().item() == pytest.approx(1, abs=.05)
    assert 'frequencies' in module.state_dict()
    with pytest.raises(ValueError, match='even, got 7'):
        FourierPositions(7)


# --- set abstraction ------------------------------------------------------------------------------------------------

def test_groups_by_hand():
    """The first and the furthest point, the points within 0.5 m of each; offsets in units of the radius."""
    xyz = torch.tensor([[[1., 1, 1], [1, 1.25, 1], [3, 1, 1], [1.5, 1, 1]]])
    features = torch.tensor([[[1.], [2.], [3.], [4.]]])
    module = SetAbstraction(num_points=2, radius=.5, num_samples=3, channels=(4, ), in_channels=1)
    centers, groups = module.group(xyz, features)
    assert centers.tolist() == [[[1, 1, 1], [3, 1, 1]]]
    # The point at a distance of exactly the radius is outside; places without a neighbor repeat the first one.
    expected = [[[0, 0, 0, 1], [0, .5, 0, 2], [0, 0, 0, 1]], [[0, 0, 0, 3]] * 3]
    assert groups.permute(0, 2, 3, 1).tolist() == [expected]
    assert module.group(xyz)[1].permute(0, 2, 3, 1).tolist() == [[[place[:3] for place in group] for group in expected]]


def test_pooling_is_the_maximum_over_neighbors_of_a_network():
    module = randomized(SetAbstraction(2, .5, 3, channels=(4, 5), in_channels=1))
    groups = numbers(2, 4, 6, 3)
    assert module.out_channels == 5 and module.mlp[0].in_channels == 4
    pooled = module.pool(groups)
    assert pooled.shape == (2, 6, 5)
    close(pooled, module.mlp(groups).detach().numpy().max(axis=3).swapaxes(1, 2))


@pytest.mark.parametrize('skip', [True, False])
def test_points_near_the_origin_are_skipped_as_in_the_published_models(skip):
    xyz = torch.tensor([[[1., 0, 0], [0, 0, .01], [.9, 0, 0]]])
    options = {} if skip else dict(skip_near_origin=False)
    centers, _ = SetAbstraction(2, .5, 1, channels=(4, ), **options).group(xyz)
    assert centers[0, 1].tolist() == pytest.approx([.9, 0, 0] if skip else [0, 0, .01])


@pytest.mark.parametrize('dims', [1, 2])
def test_pointwise_mlp(dims):
    convolution, norms = (nn.Conv1d, nn.BatchNorm1d) if dims == 1 else (nn.Conv2d, nn.BatchNorm2d)
    layers = list(pointwise_mlp([3, 4, 5], dims, dropout=.25))
    assert [type(layer) for layer in layers] == [convolution, norms, nn.ReLU, nn.Dropout] * 2
    assert [(layer.in_channels, layer.out_channels, layer.kernel_size[0]) for layer in layers[::4]] == [
        (3, 4, 1), (4, 5, 1)]
    assert layers[0].bias is None and layers[1].num_features == 4 and layers[3].p == .25
    layers = list(pointwise_mlp([3, 4], dims, norm=False))
    assert [type(layer) for layer in layers] == [convolution, nn.ReLU] and layers[0].bias is not None


# --- boxes ----------------------------------------------------------------------------------------------------------

def test_branches_are_networks_of_their_own():
    branches = randomized(BoxBranches(4, num_classes=2, num_angle_bins=5))
    queries = numbers(2, 3, 6, 4)
    raw = branches(queries)
    assert {name: value.shape[-1] for name, value in raw.items()} == dict(
        cls=3, center=3, size=3, angle_cls=5, angle_residual=5)
    for name, value in raw.items():
        assert value.shape[:3] == (2, 3, 6)
        assert [type(layer).__name__ for layer in branches[name]] == [
            'Conv1d', 'BatchNorm1d', 'ReLU', 'Dropout'] * 2 + ['Conv1d']
        x = queries[1, 2].numpy()  # layer 1, scene 2
        for start in (0, 4):
            convolution, batch_norm = branches[name][start], branches[name][start + 1]
            x = x @ convolution.weight.detach().numpy()[..., 0].T
            mean, variance = batch_norm.running_mean.numpy(), batch_norm.running_var.numpy()
            x = (x - mean) / np.sqrt(variance + 1e-5) * batch_norm.weight.detach().numpy()
            x = np.maximum(x + batch_norm.bias.detach().numpy(), 0)
        last = branches[name][8]
        close(value[1, 2], x @ last.weight.detach().numpy()[..., 0].T + last.bias.detach().numpy())


def test_boxes_by_hand():
    """Centers are at most half a meter from the query, sizes are shares of the scene's extent."""
    bounds = SceneBounds(torch.tensor([[9., 9, 9], [1., 2, 3]]), torch.tensor([[1., 1, 1], [2., 4, 8]]))
    raw = dict(
        center=torch.tensor([math.log(3), 0, -math.log(3)]).expand(1, 2, 1, 3),
        size=torch.tensor([0, math.log(3), -math.log(3)]).expand(1, 2, 1, 3),
        cls=torch.log(torch.tensor([.25, .125, .625])).expand(1, 2, 1, 3),
        angle_cls=torch.tensor([0., 0, 0, 1]).expand(1, 2, 1, 4),
        angle_residual=torch.tensor([9., 9, 9, .5]).expand(1, 2, 1, 4))
    boxes = decode_boxes(raw, torch.tensor([[[9., 9, 9]], [[2., 3, 4]]]), bounds)
    last = {name: value[0, 1, 0] for name, value in boxes.items()}
    close(last['center'], [2.25, 3, 3.75])
    close(last['normalized_center'], [.625, .25, .75 / 8])
    close(last['size'], [1, 3, 2])
    close(last['normalized_size'], [.5, .75, .25])
    assert last['objectness'].item() == pytest.approx(.375)
    assert last['angle'].item() == pytest.approx(-math.pi / 2 + .5 * math.pi / 4)
    assert torch.equal(boxes['cls_logits'], raw['cls']) and torch.equal(boxes['angle_logits'], raw['angle_cls'])
    assert torch.equal(boxes['normalized_residual'], raw['angle_residual'])
    close(boxes['size'][0, 0, 0], [.5, .75, .25])


def test_bounds_by_hand():
    bounds = SceneBounds.of([torch.tensor([[1., 5, 2], [3, 4, 2]]), torch.tensor([[0., 0, 0]])])
    assert bounds.low.tolist() == [[1, 4, 2], [0, 0, 0]]
    close(bounds.extent, [[2, 1, .1], [.1, .1, .1]])  # flat scenes are 10 cm thick
    close(bounds.normalize(torch.tensor([[[2., 4.5, 2.05]], [[.05, 0, .1]]])), [[[.5, .5, .5]], [[.5, 0, 1]]])


@pytest.mark.parametrize('angle, bin_number, residual', [
    (0., 0, 0.), (math.pi / 2, 1, 0.), (math.pi / 2 + .1, 1, .1 * 4 / math.pi), (math.pi, 2, 0.),
    (-math.pi / 2, 3, 0.), (-.1, 0, -.1 * 4 / math.pi), (-math.pi / 2 - .1, 3, -.1 * 4 / math.pi)])
def test_angles_by_hand(angle, bin_number, residual):
    """Four bins of 90 degrees around 0, 90, 180 and 270 degrees."""
    bins, residuals = encode_angle(torch.tensor([angle]), 4)
    assert bins.tolist() == [bin_number] and residuals.item() == pytest.approx(residual, abs=1e-6)
    logits = torch.full((1, 4), -1.)
    logits[0, bin_number] = 1
    others = torch.full((1, 4), 7.)
    others[0, bin_number] = residual
    assert decode_angle(logits, others).item() == pytest.approx(angle, abs=1e-6)


def test_one_bin_has_no_angle():
    bins, residuals = encode_angle(torch.tensor([1., -2.]), 1)
    assert bins.tolist() == [0, 0] and bins.dtype == torch.int64 and residuals.tolist() == [0, 0]
    assert decode_angle(torch.ones(2, 1), torch.ones(2, 1)).tolist() == [0, 0]


def test_decoder_layer_has_its_own_dropout():
    """In training the attention, both residual branches and the hidden layer are dropped at random."""
    torch.manual_seed(0)
    layer = DecoderLayer(8, 2, 6, dropout=1.)
    queries, memory, positions = numbers(1, 5, 8), numbers(1, 7, 8, seed=2), numbers(1, 7, 8, seed=3)
    assert torch.equal(layer.train()(queries, memory, positions[:, :5], positions), queries)
