"""The contour-aware projection: its contract, its invariances and the agreement of its backends."""
import math

import numpy as np
import pytest
import torch

from opendlign_mm.datasets.procedural import sample_shape
from opendlign_mm.projection import ContourAwareProjection, view_axes
from opendlign_mm.projection.torch_backends import project_batched
from opendlign_mm.projection.views import normalized_if_needed, points_in_views, voxelize

SMALL = dict(resolution=56, depth_bins=24, view_angles=(30, 60, 150), densify_kernel=5)


def cloud(category='chair', n=1500, seed=0):
    return torch.from_numpy(sample_shape(category, np.random.default_rng(seed), n).points)


def share_of_different_pixels(a, b):
    return ((a - b).abs() > 1 / 255).float().mean().item()


def test_output_shape_range_and_background():
    projection = ContourAwareProjection(resolution=64, depth_bins=32)
    views = projection(torch.stack((cloud(), cloud('table'))))
    assert views.shape == (2, 10, 64, 64) and projection.num_views == 10
    assert views.dtype == torch.float32
    assert views.min() >= 0 and views.max() == 1
    assert (views[:, :, 0, :] == 1).all() and (views[:, :, :, 0] == 1).all(), 'the frame around the object is white'
    assert (views.flatten(2).min(-1).values < .1).all(), 'the nearest surface is nearly black'
    assert ((views < 1).flatten(2).float().mean(-1) > .05).all(), 'the object is seen in each view'


def test_default_views_are_those_of_the_paper():
    assert ContourAwareProjection().view_angles == tuple(range(30, 330, 30))


def test_default_arguments():
    assert repr(ContourAwareProjection()) == (
        'ContourAwareProjection(resolution=224, depth_bins=64, densify_kernel=7, smooth_kernel=5, sigma_space=1.5, '
        'sigma_intensity=0.1, view_angles=(30.0, 60.0, 90.0, 120.0, 150.0, 180.0, 210.0, 240.0, 270.0, 300.0), '
        "elevation=20.0, object_ratio=0.8, depth_bias=0.2, backend='auto')")


def test_camera_axes_by_hand():
    """The camera at angle 0 looks along +y, the one at 90 degrees along -x; elevation lifts it and tilts it down."""
    root = 3**.5 / 2
    right, up, toward = view_axes((0, 90, 180), 0, 'cpu', torch.float64)
    for axes, expected in ((right, [[1, 0, 0], [0, 1, 0], [-1, 0, 0]]), (up, [[0, 0, 1]] * 3),
                           (toward, [[0, -1, 0], [1, 0, 0], [0, 1, 0]])):
        torch.testing.assert_close(axes, torch.tensor(expected, dtype=torch.float64))
    _, up, toward = view_axes((0,), .1, 'cpu', torch.float64)
    assert toward[0, 2].item() == pytest.approx(math.sin(math.radians(.1)), rel=1e-12)
    assert up[0, 2].item() == pytest.approx(math.cos(math.radians(.1)), rel=1e-12)
    right, up, toward = view_axes((0, 90), (30, 60), None)
    assert right.dtype == torch.float32
    for axes, expected in ((right, [[1, 0, 0], [0, 1, 0]]), (up, [[0, .5, root], [-root, 0, .5]]),
                           (toward, [[0, -root, .5], [.5, 0, root]])):
        torch.testing.assert_close(axes, torch.tensor(expected, dtype=torch.float32))


def test_voxels_by_hand():
    """Three points seen along +y: the longest side, 4, becomes 8 of 10 pixel steps; depth is in units of 4 too."""
    points = torch.tensor([[0., 0, 0], [4, 0, 0], [0, 2, 1]])
    for moved in (points, points + torch.tensor([7., -5, 3])):
        voxels = voxelize(moved, view_axes((0,), 0, 'cpu'), 11, 5, .8, .25)
        assert voxels.column.tolist() == [[1, 9, 1]] and voxels.row.tolist() == [[6, 6, 4]]
        assert voxels.depth_bin.tolist() == [[4, 4, 2]]
        torch.testing.assert_close(voxels.nearness, torch.tensor([[1, 1, .6]]))
    # A quarter around, y is the side and x the depth, whose far end is 4 behind.
    voxels = voxelize(points, view_axes((90,), 0, 'cpu'), 11, 5, .8, .25)
    assert voxels.column.tolist() == [[3, 3, 7]] and voxels.row.tolist() == [[6, 6, 4]]
    assert voxels.depth_bin.tolist() == [[0, 4, 0]]
    torch.testing.assert_close(voxels.nearness, torch.tensor([[.2, 1, .2]]))
    # The whole frame, and one point: the middle, nearest.
    voxels = voxelize(points, view_axes((0,), 0, 'cpu'), 11, 5, 1., 0.)
    assert voxels.column.tolist() == [[0, 10, 0]] and voxels.row.tolist() == [[6, 6, 4]]
    single = voxelize(points[2:], view_axes((0,), 0, 'cpu'), 11, 5, .8, .25)
    assert [field.item() for field in (single.column, single.row, single.depth_bin, single.nearness)] == [5, 5, 4, 1]


def test_points_in_views_by_hand():
    seen = points_in_views(torch.tensor([[0., 0, 1], [4, 0, 0], [0, 2, 1]]), view_axes((0, 90), 0, 'cpu'))
    for found, expected in ((seen.coordinates, [[[0, 4, 0], [0, 0, 2]], [[1, 0, 1]] * 2, [[0, 0, -2], [0, 4, 0]]]),
                            (seen.low, [[[0], [0]], [[0], [0]], [[-2], [0]]]),
                            (seen.high, [[[4], [2]], [[1], [1]], [[0], [4]]])):
        torch.testing.assert_close(torch.stack(found), torch.tensor(expected, dtype=torch.float32))
    assert seen.unit.tolist() == [[4], [4]]
    assert points_in_views(torch.ones(2, 3), view_axes((0,), 0, 'cpu')).unit.tolist() == [[1]]


def test_only_far_and_extreme_clouds_are_normalized():
    near = torch.tensor([[198., 0, 0], [200, 1, 0]])  # half its size is 1
    assert torch.equal(normalized_if_needed(near), near) and torch.equal(normalized_if_needed(near.double()), near)
    assert torch.equal(normalized_if_needed(-near), -near)
    far = torch.tensor([[199., 4, 0], [201, 4, .5]])
    assert normalized_if_needed(far).tolist() == [[-1, 0, -.25], [1, 0, .25]]
    assert normalized_if_needed(-far).tolist() == [[1, 0, .25], [-1, 0, -.25]]
    assert normalized_if_needed(far.half()).dtype == torch.float32
    assert normalized_if_needed(torch.full((2, 3), 5.)).tolist() == [[0, 0, 0]] * 2
    for scale in (1e-16, 1e16):
        assert normalized_if_needed(far[:, 2:] * torch.tensor([1., 0, 0]) * scale).amax().item() == 1


def test_near_is_darker_than_far():
    near, far = torch.rand(500, 3) * .2, torch.rand(500, 3) * .2 + torch.tensor((.6, 3., 0))
    view = ContourAwareProjection(resolution=64, depth_bins=64, view_angles=(0,), elevation=0)(
        torch.cat((near, far))[None])[0, 0]
    left, right = view[:, :32], view[:, 32:]
    assert left.min() < .15, 'a camera at angle 0 stands on the -y side: the near block is left of the middle'
    assert right[right < 1].min() > .7


def test_hidden_surfaces_do_not_shine_through():
    grid = torch.linspace(-1, 1, 40)
    x, z = torch.meshgrid(grid, grid, indexing='ij')
    wall = torch.stack((x.flatten(), torch.zeros(1600), z.flatten()), 1)
    behind = torch.randn(400, 3) * .2 + torch.tensor((0, 1.5, 0))
    project = ContourAwareProjection(resolution=56, depth_bins=32, view_angles=(0,), elevation=0)
    both = project(torch.cat((wall, behind))[None])[0, 0]
    inside = both[12:-12, 12:-12]
    assert (inside - inside.median()).abs().max() < 1e-3


@pytest.mark.parametrize('category', ['chair', 'cup', 'window', 'bed'])
@pytest.mark.parametrize('settings', [{}, dict(sigma_intensity=.03), dict(sigma_intensity=.5, sigma_space=4.),
                                      dict(smooth_kernel=3), dict(smooth_kernel=1), dict(densify_kernel=1),
                                      dict(densify_kernel=11), dict(depth_bias=0.),
                                      dict(object_ratio=1., densify_kernel=7), dict(depth_bins=5),
                                      dict(densify_kernel=1, sigma_intensity=.5)])
def test_numba_and_batched_equal_dense(category, settings):
    arguments = {**SMALL, **settings}
    points = cloud(category)[None]
    dense = ContourAwareProjection(**arguments, backend='dense')(points)
    difference = (ContourAwareProjection(**arguments, backend='numba')(points) - dense).abs()
    assert difference.max() <= 2 / 255 and difference.mean() <= 1e-4
    p = ContourAwareProjection(**arguments)
    voxels = voxelize(points[0], view_axes(p.view_angles, p.elevation, 'cpu'), p.resolution, p.depth_bins,
                      p.object_ratio, p.depth_bias)
    batched = project_batched(voxels, p.resolution, p.depth_bins, p.densify_kernel, p.smooth_kernel, p.sigma_space,
                              p.sigma_intensity)
    assert (batched - dense[0]).abs().max() < 1e-5


def test_threads_and_chunks_do_not_change_the_views(monkeypatch):
    """Views in parallel threads, and a filter that takes few voxels at once."""
    points = cloud()
    project = ContourAwareProjection(**SMALL)
    expected = project([points])
    threads = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        assert torch.equal(project([points]), expected)
    finally:
        torch.set_num_threads(threads)
    voxels = voxelize(points, view_axes((30, 60, 150), 20., 'cpu'), 56, 24, .8, .2)
    arguments = (voxels, 56, 24, 5, 5, 1.5, .1)
    whole = project_batched(*arguments)
    monkeypatch.setattr('opendlign_mm.projection.torch_backends.CHUNK_VOXELS', 1000)
    assert torch.equal(project_batched(*arguments), whole)


def test_numba_equals_dense_at_full_size():
    points = cloud('sofa', 3000)[None]
    arguments = dict(view_angles=(30, 300))
    difference = (ContourAwareProjection(**arguments, backend='numba')(points)
                  - ContourAwareProjection(**arguments, backend='dense')(points)).abs()
    assert difference.max() <= 2 / 255 and difference.mean() <= 1e-4


@pytest.mark.parametrize('settings', [dict(), dict(densify_kernel=19, smooth_kernel=7), dict(sigma_intensity=.5)])
def test_a_used_grid_leaves_no_trace_in_the_next_view(settings):
    """Views of one thread share their voxels; runs of depths may be longer than one vector."""
    project = ContourAwareProjection(resolution=36, depth_bins=30, view_angles=(30, 200), **settings)
    clouds = [cloud('chair', 300), cloud('lamp', 200), cloud('chair', 300)]
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        views = project(clouds)
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(views[0], views[2])
    dense = ContourAwareProjection(**{**vars(project), 'backend': 'dense'})(clouds[1:2])
    difference = (views[1] - dense[0]).abs()
    assert difference.max() <= 2 / 255 and difference.mean() <= 1e-4


def test_dense_follows_the_definition():
    """Each step written out for one voxel neighborhood after the other."""
    project = ContourAwareProjection(resolution=14, depth_bins=6, view_angles=(40,), densify_kernel=3, smooth_kernel=3,
                                     sigma_space=.8, sigma_intensity=.2, backend='dense')
    points = cloud(n=25)
    voxels = voxelize(points, view_axes((40,), 20., 'cpu'), 14, 6, .8, .2)
    grid = np.zeros((6, 14, 14))
    for i, j, b, value in zip(voxels.row[0], voxels.column[0], voxels.depth_bin[0], voxels.nearness[0]):
        grid[b, i, j] = max(grid[b, i, j], value)

    def window(array, b, i, j):
        return np.pad(array, 1)[b:b + 3, i:i + 3, j:j + 3]

    dense = np.empty_like(grid)
    for index in np.ndindex(grid.shape):
        dense[index] = window(grid, *index).max()
    offsets = np.indices((3, 3, 3)) - 1
    space = np.exp(-(offsets**2).sum(0) / (2 * .8**2))
    smooth = np.empty_like(grid)
    for index in np.ndindex(grid.shape):
        neighbors = window(dense, *index)
        weight = space * np.exp(-(neighbors - dense[index])**2 / (2 * .2**2))
        smooth[index] = (weight * neighbors).sum() / weight.sum()
    expected = 1 - smooth.max(0)
    assert np.abs(project(points[None])[0, 0].numpy() - expected).max() < 1e-5


@pytest.mark.parametrize('backend', ['numba', 'dense'])
def test_order_and_duplicates_do_not_matter(backend):
    project, points = ContourAwareProjection(**SMALL, backend=backend), cloud()
    expected = project(points[None])
    assert torch.equal(project(points[torch.randperm(len(points))][None]), expected)
    assert torch.equal(project(torch.cat((points, points[:700], points[:1]))[None]), expected)


def test_scale_and_position_do_not_matter():
    project, points = ContourAwareProjection(**SMALL), cloud().double()
    expected = project(points[None])
    for scale, shift in ((1e-3, 0.), (250., 0.), (1., 3.), (7.3, -40.)):
        moved = (points * scale + shift)[None]
        assert share_of_different_pixels(project(moved), expected) < .01, (scale, shift)
    assert torch.equal(project(points[None] * 4), expected), 'a power of two is exact'


@pytest.mark.parametrize('dtype', [torch.float64, torch.float32])
@pytest.mark.parametrize('shift', [(1e6, -2e6, 5e2), (-4e7, 0, 0)])
def test_clouds_far_from_the_origin_have_the_views_of_the_centered_cloud(dtype, shift):
    """Map coordinates: what the given precision still holds of the cloud is what the views show."""
    project, shift = ContourAwareProjection(**SMALL), torch.tensor(shift, dtype=torch.float64)
    size = 1 if dtype == torch.float64 else 1e4  # float32 holds a shape that far away only if it is large
    far = (cloud().double() * size + shift).to(dtype)
    expected = project((far.double() - shift)[None])
    assert share_of_different_pixels(expected, project(cloud()[None])) < (.002 if size == 1 else .02)
    assert share_of_different_pixels(project(far[None]), expected) < .002


@pytest.mark.parametrize('scale', [1e-35, 1e-20, 1e20, 1e35, 1e200])
def test_extreme_scales_do_not_matter(scale):
    project, points = ContourAwareProjection(**SMALL), cloud().double() * scale
    for cloud_of in ((points.float(), points) if 1e-36 < scale < 1e37 else (points,)):
        assert share_of_different_pixels(project(cloud_of[None]), project(cloud()[None])) < .01


def test_rotating_the_object_shifts_the_views():
    angle = torch.deg2rad(torch.tensor(30.))
    rotation = torch.tensor(((angle.cos(), -angle.sin(), 0), (angle.sin(), angle.cos(), 0), (0, 0, 1)))
    project, points = ContourAwareProjection(resolution=56, depth_bins=24), cloud('toilet')
    before, after = project(points[None])[0], project((points @ rotation.T)[None])[0]
    assert share_of_different_pixels(after[1:], before[:-1]) < .01
    assert share_of_different_pixels(after[:-1], before[1:]) > .02, 'the other direction is another image'


@pytest.mark.parametrize('backend', ['numba', 'dense'])
def test_batch_equals_single_calls(backend):
    project = ContourAwareProjection(**SMALL, backend=backend)
    clouds = [cloud('chair', 900), cloud('lamp', 1500), cloud('door', 37)]
    together = project(clouds)
    for single, view in zip(clouds, together):
        assert torch.equal(project(single[None])[0], view)
    pair = torch.stack((cloud('bed'), cloud('cup')))
    assert torch.equal(project(pair)[1], project(pair[1:])[0])


@pytest.mark.parametrize('backend', ['numba', 'dense'])
def test_empty_and_single_point_clouds(backend):
    project = ContourAwareProjection(**SMALL, backend=backend)
    views = project([torch.zeros(0, 3), torch.tensor([[5., -3., 2.]]), torch.ones(4, 3)])
    assert (views[0] == 1).all()
    dark = (views[1] < .9).nonzero()
    assert len(dark) > 0 and (dark[:, 1:].float().mean(0) - 27.5).abs().max() <= 1, 'a point lies in the middle'
    assert torch.equal(views[1], views[2]), 'several points in one place are one point'
    assert project([]).shape == (0, 3, 56, 56)
    assert project(torch.zeros(2, 0, 3)).shape == (2, 3, 56, 56)


def test_non_finite_points_are_counted():
    points = cloud()[None].repeat(2, 1, 1)
    points[1, 3, 0], points[1, 8, 2] = float('nan'), float('inf')
    with pytest.raises(ValueError, match='cloud 1 has 2 of 1500 points'):
        ContourAwareProjection()(points)


@pytest.mark.parametrize('points, message', [
    (torch.zeros(5, 3), r'\(B, N, 3\)'), (torch.zeros(1, 5, 4), r'\(B, N, 3\)'), ([torch.zeros(5)], r'\(N, 3\)')])
def test_wrong_shapes(points, message):
    with pytest.raises(ValueError, match=message):
        ContourAwareProjection()(points)


@pytest.mark.parametrize('points', [np.zeros((1, 5, 3)), [np.zeros((5, 3))], torch.zeros(1, 5, 3, dtype=torch.long)])
def test_wrong_types(points):
    with pytest.raises(TypeError, match='tensor'):
        ContourAwareProjection()(points)


def test_points_that_require_gradients_are_projected():
    points = cloud()[None].requires_grad_()
    assert torch.equal(ContourAwareProjection(**SMALL)(points), ContourAwareProjection(**SMALL)(points.detach()))


@pytest.mark.parametrize('name, value', [
    ('resolution', 0), ('depth_bins', 0), ('densify_kernel', 4), ('smooth_kernel', 0), ('sigma_space', 0.),
    ('sigma_intensity', -1.), ('view_angles', ()), ('view_angles', (float('nan'),)), ('elevation', 90.),
    ('object_ratio', 1.5), ('depth_bias', -.1), ('backend', 'numpy')])
def test_arguments_are_checked(name, value):
    with pytest.raises(ValueError, match=f'{name} must'):
        ContourAwareProjection(**{name: value})


@pytest.mark.parametrize('name, value', [
    ('resolution', 0), ('resolution', 2.5), ('resolution', float('inf')), ('smooth_kernel', 2), ('densify_kernel', -1),
    ('sigma_space', float('inf')), ('sigma_intensity', 0), ('elevation', -90), ('elevation', 90), ('object_ratio', 0),
    ('object_ratio', 1.01), ('depth_bias', float('nan')), ('depth_bias', float('inf'))])
def test_values_just_outside_their_range_are_refused(name, value):
    with pytest.raises(ValueError, match=f'{name} must'):
        ContourAwareProjection(**{name: value})


def test_values_just_inside_their_range_are_taken():
    smallest = dict(resolution=1, depth_bins=1, densify_kernel=1, smooth_kernel=1, sigma_space=1e-3,
                    sigma_intensity=1e-3, view_angles=(0,), elevation=-89.9, object_ratio=1, depth_bias=0)
    for backend in ('numba', 'dense'):
        views = ContourAwareProjection(**smallest, backend=backend)(cloud()[None])
        assert views.shape == (1, 1, 1, 1) and views.item() == 0
    assert ContourAwareProjection(resolution=3., elevation=89.9).resolution == 3


def test_backend_must_fit_the_device():
    for backend in ('cuda', 'triton'):
        with pytest.raises(ValueError, match=f"{backend}' needs CUDA tensors"):
            ContourAwareProjection(backend=backend)(cloud()[None])
    with pytest.raises(ValueError, match='needs CPU tensors'):
        ContourAwareProjection(backend='numba').backend_for(torch.device('cuda'))
    for backend, on_cpu, on_cuda in (('auto', 'numba', 'triton'), ('dense', 'dense', 'dense')):
        choose = ContourAwareProjection(backend=backend).backend_for
        assert (choose(torch.device('cpu')), choose(torch.device('cuda'))) == (on_cpu, on_cuda)


def test_half_precision_points_are_accepted():
    views = ContourAwareProjection(**SMALL)(cloud()[None].half())
    assert views.dtype == torch.float32 and (views < 1).any()


def test_workers_that_fork_after_a_projection(tmp_path):
    """Data loader workers fork; a projection in the parent must not keep them from projecting."""
    class Views(torch.utils.data.Dataset):

        def __len__(self):
            return 2

        def __getitem__(self, index):
            return ContourAwareProjection(**SMALL)(cloud()[None])[0]

    expected = Views()[0]
    loader = torch.utils.data.DataLoader(Views(), num_workers=1, batch_size=None, multiprocessing_context='fork')
    assert all(torch.equal(views, expected) for views in loader)


@pytest.mark.skipif(not torch.cuda.is_available(), reason='no CUDA device')
def test_cuda_equals_dense():
    points = cloud()[None].cuda()
    fast = ContourAwareProjection(**SMALL)(points)
    assert fast.is_cuda
    assert share_of_different_pixels(fast, ContourAwareProjection(**SMALL, backend='dense')(points)) == 0
