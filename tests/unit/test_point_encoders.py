"""Point encoders: sparse convolution against a dense one, the two engines, batches of clouds, and bad input."""
import copy
import importlib.util

import pytest
import torch

from opendlign_mm.point_encoders import PointBERT, PointPatchTransformer, SparseResNet
from opendlign_mm.point_encoders.released import from_released_encoder, to_released_encoder
from opendlign_mm.point_encoders.sparse_conv import SparseConv3d, select_engine
from opendlign_mm.point_encoders.voxel_grid import VoxelGrid, mean_by_site

needs_spconv = pytest.mark.skipif(importlib.util.find_spec('spconv') is None, reason='spconv is not installed')
ENGINES = ['torch', pytest.param('spconv', marks=needs_spconv)]


def small(name, seed=0, **options):
    torch.manual_seed(seed)
    encoders = dict(
        bert=lambda: PointBERT(embed_dims=24, depth=2, num_heads=2, num_groups=16, group_size=4, out_channels=8,
                               **options),
        patches=lambda: PointPatchTransformer(1, 8, sizes=dict(embed_dims=64, depth=2, num_patches=16), **options),
        sparse=lambda: SparseResNet(.1, 8, (4, 8), (1, 2), (8, 8), (8, 8), **options))
    return encoders[name]().eval()


def cloud(count, seed, colors=False):
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(count, 3, generator=generator) * (1 if colors else 2) - (0 if colors else 1)


def random_grid(seed=0, size=6):
    """Two clouds in a cube, negative coordinates included, as a grid and as dense tensors."""
    generator = torch.Generator().manual_seed(seed)
    occupied = torch.rand(2, size, size, size, generator=generator) < .3
    coordinates = occupied.nonzero()
    coordinates[:, 1:] -= 2  # even, so that the parents of strided convolutions stay aligned with the dense tensor
    features = torch.randn(len(coordinates), 4, generator=generator, requires_grad=True)
    return VoxelGrid(coordinates, 1, 2), features, occupied


@pytest.mark.parametrize('engine', ENGINES)
@pytest.mark.parametrize('kernel, stride', [(5, 1), (3, 1), (2, 2), (3, 2), (1, 1)])
def test_sparse_convolution_equals_a_dense_one_with_gradients(engine, kernel, stride):
    grid, features, occupied = random_grid()
    torch.manual_seed(1)
    layer = SparseConv3d(4, 3, kernel, stride, engine)
    result, outputs = layer(features, grid)
    sites = tuple(grid.coordinates.T + torch.tensor([[0], [2], [2], [2]]))
    dense = torch.zeros(2, 6, 6, 6, 4).index_put(sites, features)
    # Ours is stored with x fastest: (z, y, x, in, out) -> (out, in, x, y, z).
    weight = layer.kernel.view(kernel, kernel, kernel, 4, 3).permute(4, 3, 2, 1, 0)
    padding = kernel // 2 if kernel % 2 else 0
    expected = torch.nn.functional.conv3d(dense.permute(0, 4, 1, 2, 3), weight, stride=stride, padding=padding)
    places = (outputs.coordinates + torch.tensor([0, 2, 2, 2]))
    places[:, 1:] //= stride
    expected = expected.permute(0, 2, 3, 4, 1)[tuple(places.T)]
    torch.testing.assert_close(result, expected, atol=1e-5, rtol=0)
    if stride == 1:
        assert torch.equal(outputs.coordinates, grid.coordinates)
    else:
        parents = torch.nn.functional.max_pool3d(occupied[:, None].float(), 2)[:, 0].nonzero()
        assert torch.equal(places, parents)
    cotangent = torch.randn_like(result)
    ours = torch.autograd.grad((result * cotangent).sum(), (features, layer.kernel))
    theirs = torch.autograd.grad((expected * cotangent).sum(), (features, layer.kernel))
    for first, second in zip(ours, theirs):
        torch.testing.assert_close(first, second, atol=1e-5, rtol=0)


@needs_spconv
def test_the_two_engines_agree_in_training():
    gradients = []
    for engine in ('torch', 'spconv'):
        encoder = small('sparse', engine=engine).train()
        torch.manual_seed(0)
        loss = encoder([cloud(60, 1), cloud(80, 2)]).square().sum()
        loss.backward()
        gradients.append([loss.detach(), *(parameter.grad for parameter in encoder.parameters())])
    for first, second in zip(*gradients):
        torch.testing.assert_close(first, second, atol=1e-5, rtol=1e-4)


@needs_spconv
def test_an_encoder_on_spconv_can_be_copied_after_use():
    encoder, points = small('sparse', engine='spconv'), [cloud(60, 1)]
    expected, names = encoder(points), encoder.state_dict().keys()
    duplicate = copy.deepcopy(encoder)
    torch.testing.assert_close(duplicate(points), expected)
    assert duplicate.state_dict().keys() == names == small('sparse', engine='torch').state_dict().keys()


def test_voxels_are_floors_and_hold_means():
    points = [torch.tensor([[.05, .05, .05], [.09, .01, .01], [-.01, 0, 0]]), torch.tensor([[.25, 0, -.11]])]
    grid, sites = VoxelGrid.from_points(points, .1)
    assert grid.coordinates.tolist() == [[0, -1, 0, 0], [0, 0, 0, 0], [1, 2, 0, -2]] and sites.tolist() == [1, 1, 0, 2]
    means = mean_by_site(torch.cat(points), sites, 3)
    torch.testing.assert_close(means[1], torch.tensor([.07, .03, .03]))
    coarse, parents = grid.downsample(2)
    assert coarse.coordinates.tolist() == [[0, -2, 0, 0], [0, 0, 0, 0], [1, 2, 0, -2]] and coarse.stride == 2
    assert parents.tolist() == [0, 1, 2]
    assert grid.find(torch.tensor([[0, 0, 0, 0], [0, 0, 0, 1], [1, 0, 0, 0]])).tolist() == [1, -1, -1]
    with pytest.raises(ValueError, match='within 13107.2 of the origin for voxels of 0.1; center'):
        VoxelGrid.from_points([torch.tensor([[2e4, 0, 0]])], .1)


@pytest.mark.parametrize('name', ['bert', 'patches', 'sparse'])
def test_a_cloud_has_the_same_embedding_alone_and_in_a_batch(name):
    encoder = small(name)
    points, colors = [cloud(40, 1), cloud(90, 2)], [cloud(40, 3, True), cloud(90, 4, True)]
    with torch.no_grad():
        together = encoder(points, colors)
        assert together.shape == (2, encoder.out_channels) and together.dtype == torch.float32
        for index in range(2):
            alone = encoder(points[index][None], colors[index][None])[0]
            torch.testing.assert_close(together[index], alone, atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(encoder([points[0].double()], [colors[0]])[0], together[0], atol=1e-5, rtol=1e-4)
        uses_colors = not torch.allclose(encoder(points), together, atol=1e-4)
        assert uses_colors == (name != 'bert')
        gray = [torch.full_like(values, .4) for values in colors]
        torch.testing.assert_close(encoder(points), encoder(points, gray))


@pytest.mark.parametrize('name', ['bert', 'patches', 'sparse'])
def test_training_lowers_a_loss(name):
    encoder = small(name).train()
    points, target = [cloud(60, seed) for seed in range(4)], torch.randn(4, 8)
    optimizer = torch.optim.Adam(encoder.parameters(), 1e-3)
    losses = []
    for _ in range(8):
        torch.manual_seed(0)  # the same dropout in each step
        loss = (encoder(points) - target).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < .9 * losses[0]
    assert all(parameter.grad is not None for parameter in encoder.parameters())


def test_a_random_first_point_varies_and_follows_the_seed():
    encoder, points = small('patches', first_point='random'), cloud(300, 0)[None]
    with torch.no_grad():
        torch.manual_seed(1)
        first, second = encoder(points), encoder(points)
        torch.manual_seed(1)
        assert torch.equal(encoder(points), first) and not torch.equal(first, second)


@pytest.mark.parametrize('name', ['bert', 'patches', 'sparse'])
def test_bad_input_is_refused(name):
    encoder, points = small(name), cloud(40, 1)
    nan = points.clone()
    nan[3, 1] = torch.nan
    for inputs, error, message in (
            (([], ), ValueError, 'points has no clouds'),
            (([points, points[:0]], ), ValueError, 'cloud 1 must have shape'),
            (([points, nan], ), ValueError, 'cloud 1 has non-finite values'),
            (([points[:, :2]], ), ValueError, r'cloud 0 must have shape \(N, 3\)'),
            (([points.long()], ), TypeError, 'cloud 0 must be a floating point tensor, got torch.int64'),
            (([points], [points, points]), ValueError, '1 clouds but colors of 2')):
        with pytest.raises(error, match=message):
            encoder(*inputs)
    if name == 'bert':
        with pytest.raises(ValueError, match='cloud 0 has 3 points, fewer than a group of 4'):
            encoder([points[:3]])
        return
    for colors, message in ((points[:5].abs(), r'colors of cloud 0 must have shape \(40, 3\)'),
                            (255 * points.abs(), 'must lie in .0, 1.*divide 8-bit colors by 255')):
        with pytest.raises(ValueError, match=message):
            encoder([points], [colors])


@pytest.mark.parametrize('name, size', [('bert', 22.25), ('patches', 32.33), ('sparse', 41.33)])
def test_published_sizes(name, size):
    """Millions of parameters of the published models."""
    with torch.device('meta'):
        encoder = dict(bert=PointBERT, patches=PointPatchTransformer, sparse=SparseResNet)[name]()
    assert sum(parameter.numel() for parameter in encoder.parameters()) / 1e6 == pytest.approx(size, abs=.01)


def test_released_entries_that_are_missing_or_too_many():
    encoder = small('sparse')
    released = to_released_encoder(encoder)
    assert {'module.conv2p2s2.kernel', 'module.block2.0.downsample.1.bn.weight', 'module.conv5.1.1.bn.bias',
            'module.final.3.linear.bias'} <= released.keys()
    converted, left_out = from_released_encoder({**released, 'module.logit_scale': torch.ones(1)}, encoder)
    assert left_out == ['module.logit_scale'] and converted.keys() == encoder.state_dict().keys()
    del released['module.conv0p1s1.kernel']
    with pytest.raises(ValueError, match='does not fit a SparseResNet of these settings.*: conv0p1s1.kernel$'):
        from_released_encoder(released, encoder)
    # OpenShape's file for ViT-B-32 has another prefix and no projection.
    encoder = small('patches')
    released = {key.replace('ppat.', ''): value for key, value in to_released_encoder(encoder, 'pc_encoder.').items()}
    assert 'pc_encoder.sa.mlp_convs.0.weight' in released
    assert not from_released_encoder(released, encoder)[1]


def test_engines_that_cannot_run_are_refused(monkeypatch):
    assert select_engine('auto', torch.device('cpu')) == 'torch'
    with pytest.raises(ValueError, match="engine must be 'auto', 'torch' or 'spconv', got 'minkowski'"):
        select_engine('minkowski', torch.device('cpu'))
    monkeypatch.setattr('opendlign_mm.point_encoders.sparse_conv.find_spec', lambda name: None)
    assert select_engine('auto', torch.device('cuda')) == 'torch'
    with pytest.raises(ImportError, match="needs the package spconv.*engine='torch' needs neither"):
        select_engine('spconv', torch.device('cpu'))


def test_encoders_are_registered_with_the_package():
    from mmdet3d.registry import MODELS

    import opendlign_mm  # noqa: F401
    encoder = MODELS.build(dict(type='mmdet3d.PointPatchTransformer', scaling=1, sizes=dict(depth=1)))
    assert isinstance(encoder, PointPatchTransformer)
