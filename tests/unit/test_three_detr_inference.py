"""What 3DETR computes in evaluation without gradients is what it computes with them, in fewer operations."""
import pytest
import torch
from torch import nn

from helpers.tiny_three_detr import tiny
from opendlign_mm.detection.three_detr import inference
from opendlign_mm.detection.three_detr.inference import folded_layers, is_inference
from opendlign_mm.detection.three_detr.set_abstraction import SetAbstraction, pointwise_mlp
from opendlign_mm.detection.three_detr.transformer import PointEncoder


def randomized(module, seed=0):
    """The module in evaluation mode, as after a training: statistics and affine parameters of the norms differ."""
    generator = torch.Generator().manual_seed(seed)
    for part in module.modules():
        if isinstance(part, nn.modules.batchnorm._BatchNorm):
            for tensor in (part.running_mean, part.running_var, part.weight.data, part.bias.data):
                tensor.copy_(torch.rand(tensor.shape, generator=generator) + .5 * (tensor is part.running_var) - .2)
            part.running_var.abs_()
    return module.eval()


def numbers(*shape, seed=1):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def close(actual, expected):
    torch.testing.assert_close(actual, expected, atol=1e-5, rtol=1e-4)


# --- networks as matrices -------------------------------------------------------------------------------------------

def test_a_matrix_has_the_norm_in_it_by_hand():
    mlp = pointwise_mlp([1, 1])
    mlp[0].weight.data.fill_(3)
    mlp[1].running_mean.fill_(5), mlp[1].running_var.fill_(4 - mlp[1].eps)
    mlp[1].weight.data.fill_(8), mlp[1].bias.data.fill_(7)
    (weight, bias), = folded_layers(mlp.eval())
    assert weight.tolist() == [[pytest.approx(12)]], '(3 x - 5) / 2 * 8 + 7'
    assert bias.tolist() == [pytest.approx(-13)]


@pytest.mark.parametrize('dims', [1, 2])
@torch.no_grad()
def test_folded_layers_are_the_network(dims):
    mlp = randomized(pointwise_mlp([5, 7, 6], dims))
    values = numbers(4, 5, *[3] * dims)
    rows = values.movedim(1, -1)
    for weight, bias in folded_layers(mlp):
        rows = nn.functional.linear(rows, weight, bias).relu()
    close(rows.movedim(-1, 1), mlp(values))


@pytest.mark.parametrize('change', [
    dict(norm=False), dict(dropout=.1), 'activation', 'statistics'])
def test_other_networks_are_not_folded(change):
    mlp = pointwise_mlp([3, 4, 5], **change if isinstance(change, dict) else {})
    if change == 'activation':
        mlp[2] = nn.LeakyReLU()
    if change == 'statistics':
        mlp[1] = nn.BatchNorm1d(4, track_running_stats=False)
    assert folded_layers(mlp.eval()) is None


def test_inference_is_evaluation_of_all_parts_without_gradients():
    module = pointwise_mlp([3, 4]).eval()
    assert not is_inference(module)
    with torch.no_grad():
        assert is_inference(module)
        module[1].train()
        assert not is_inference(module), 'BatchNorm alone would still use the statistics of the batch'
    with torch.inference_mode():
        assert is_inference(module.eval())


# --- the same results -----------------------------------------------------------------------------------------------

@pytest.mark.parametrize('channels', [0, 4])
@pytest.mark.parametrize('samples', [1, 6, 40])
def test_distinct_neighbors_have_the_maximum_of_all(monkeypatch, channels, samples):
    """Balls that are full, those with few neighbors, and single points; more centers than pass at once."""
    monkeypatch.setattr(inference, 'CHUNK', 3)
    module = randomized(SetAbstraction(10, .8, samples, channels=(6, 5), in_channels=channels))
    xyz = numbers(2, 40, 3) + 3
    xyz[0, :20] = xyz[0, :1] + .01 * numbers(20, 3, seed=3)  # a dense place
    features = numbers(2, 40, channels, seed=2) if channels else None
    centers, groups = module.group(xyz, features)
    expected = module.pool(groups)
    with torch.no_grad():
        places, pooled = module(xyz, features)
    assert torch.equal(places, centers) and not torch.equal(pooled, torch.zeros_like(pooled))
    close(pooled, expected.detach())


@pytest.mark.parametrize('radii', [None, (1.5, .9)])
def test_the_encoder_attends_to_the_same_points(radii):
    torch.manual_seed(0)
    encoder = PointEncoder(8, num_layers=2, num_heads=2, feedforward_channels=6, masking_radii=radii).eval()
    xyz, features = numbers(2, 9, 3), numbers(2, 9, 8, seed=2)
    _, expected = encoder(xyz, features)
    with torch.no_grad():
        close(encoder(xyz, features)[1], expected.detach())


def test_the_encoder_attends_to_the_same_points_far_from_the_origin():
    """Multiples of 1/1024 m are exact there, and so are their differences; distances by matrix products are not."""
    torch.manual_seed(0)
    encoder = PointEncoder(channels=8, num_layers=1, num_heads=2, feedforward_channels=8, masking_radii=(.5, )).eval()
    xyz, features = torch.randint(0, 2048, (1, 64, 3)) / 1024, torch.randn(1, 64, 8)
    with torch.no_grad():
        torch.testing.assert_close(encoder(xyz + 4096, features)[1], encoder(xyz, features)[1], rtol=0, atol=0)


def test_networks_that_are_not_folded_run_as_they_are():
    module = randomized(SetAbstraction(4, .8, 6, channels=(6, )))
    module.mlp.append(nn.Tanh())
    xyz = numbers(1, 9, 3) + 3
    with torch.no_grad():
        assert torch.equal(module(xyz)[1], module.pool(module.group(xyz)[1]))


@pytest.fixture(scope='module')
def scenes():
    generator = torch.Generator().manual_seed(5)
    return [torch.rand(count, 3, generator=generator) * torch.tensor([4., 3, 2]) for count in (900, 500)]


@pytest.mark.parametrize('masked', [True, False])
def test_boxes_are_those_with_gradients(scenes, masked):
    plain = {} if masked else dict(encoder=dict(feedforward_channels=16), memory_layers=3)
    model = randomized(tiny(num_angle_bins=4, decoder=dict(num_layers=3, feedforward_channels=16), **plain))
    for points in (scenes, [scenes[0], scenes[0].flip(0)]):
        expected = model.predict_boxes(points)
        with torch.no_grad():
            found = model.predict_boxes(points)
            layers, _ = model.predict_layers(points)
        for name, value in expected.items():
            assert value.requires_grad and not found[name].requires_grad
            close(found[name], value.detach())
            close(found[name], layers[name][-1])


def test_only_the_last_boxes_are_predicted_in_inference(scenes):
    model = tiny().eval()
    layers = []
    model.branches.register_forward_hook(lambda _, inputs, output: layers.append(len(inputs[0])))
    model.predict_boxes(scenes)
    with torch.no_grad():
        model.predict_boxes(scenes)
        model.train().predict_boxes(scenes)
    assert layers == [2, 1, 2], 'the statistics of a batch are those of all layers'


def test_without_gradients_a_model_in_training_still_uses_the_statistics_of_the_batch(scenes):
    model = tiny(branch_dropout=0.)
    results = []
    for enabled in (True, False):
        torch.manual_seed(0)
        with torch.set_grad_enabled(enabled):
            results.append(model.set_abstraction(scenes[0][None])[1].detach())
    assert torch.equal(*results)


@torch.no_grad()
def test_bfloat16_stays_close(scenes):
    model = randomized(tiny())
    exact = model.predict_boxes(scenes)
    with torch.autocast('cpu', torch.bfloat16):
        rounded = model.predict_boxes(scenes)
    assert (rounded['size'].float() - exact['size']).abs().median() < .05
