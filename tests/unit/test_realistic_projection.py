"""PointCLIP V2's projection: agreement with its released code, and the contract that all projections share."""
import numpy as np
import pytest
import torch

from opendlign_mm.datasets.procedural import sample_shape
from opendlign_mm.datasets.transforms import ProjectPointsToDepth
from opendlign_mm.projection import ContourAwareProjection, RealisticProjection, build_projection


def cloud(category='chair', n=800, seed=0):
    return torch.from_numpy(sample_shape(category, np.random.default_rng(seed), n).points)


def test_equals_the_released_projection(shared_dir):
    data = np.load(shared_dir / 'parity' / 'released' / 'projections.npz')
    x, y, z = torch.from_numpy(data['points']).T  # the released code takes y as up
    depth_views = RealisticProjection()(torch.stack((x, -z, y), dim=1)[None])[0]
    np.testing.assert_allclose(depth_views.numpy(), data['pointclip_v2'], atol=1e-5)


@pytest.mark.parametrize('settings', [
    dict(), dict(object_ratio=1., depth_bias=0.), dict(densify_kernel=5, smooth_kernel=5, sigma=.7),
    dict(densify_kernel=3, depth_bins=3, smooth_kernel=1), dict(densify_kernel=11, resolution=8)])
def test_follows_the_definition(settings):
    """Each step written out, for the view along +y, in which x points right and z up."""
    arguments = dict(resolution=20, depth_bins=8, densify_kernel=7, smooth_kernel=3, sigma=3., object_ratio=.8,
                     depth_bias=.2) | settings
    points = cloud(n=60).numpy().astype(np.float64)
    down, right, toward = -points[:, 2], points[:, 0], -points[:, 1]
    longest = max(np.ptp(values) for values in (down, right, toward))
    down, right, toward = ((values - (values.min() + values.max()) / 2) / (longest / 2)
                           for values in (down, right, toward))
    resolution, bins, kernel = (arguments[key] for key in ('resolution', 'depth_bins', 'densify_kernel'))
    pad = min(2, kernel // 2)  # the map is smaller than the grid by what densifying does not pad
    size = resolution + kernel - 1 - 2 * pad
    grid = np.zeros((bins, size, size))
    for y, x, z in zip(down, right, toward):
        row, column = (int(np.clip(np.ceil((value * arguments['object_ratio'] + 1) / 2 * size), 1, size - 2))
                       for value in (y, x))
        depth = ((z + 1) / 2 + arguments['depth_bias']) / (1 + arguments['depth_bias']) * (bins - 2)
        depth_bin = int(np.clip(np.ceil(depth), 0, bins - 1))
        grid[depth_bin, row, column] = max(grid[depth_bin, row, column], np.clip(depth, 1, bins - 2))
    padded = np.pad(grid, ((0, 0), (pad, pad), (pad, pad)))
    dense = np.array([[[padded[b, i:i + kernel, j:j + kernel].max() for j in range(resolution)]
                       for i in range(resolution)] for b in range(bins)])
    reach = arguments['smooth_kernel'] // 2
    offsets = np.arange(-reach, reach + 1)
    weights = np.exp(-(offsets[:, None]**2 + offsets**2) / (2 * arguments['sigma']**2))
    weights /= weights.sum()
    padded = np.pad(dense, ((0, 0), (reach, reach), (reach, reach)))
    smooth = np.array([[[(padded[b, i:i + len(weights), j:j + len(weights)] * weights).sum()
                         for j in range(resolution)] for i in range(resolution)] for b in range(bins)])
    nearest = smooth.max(0)
    view = RealisticProjection(**arguments, view_angles=(0,), elevation=0)([torch.from_numpy(points)])[0, 0]
    np.testing.assert_allclose(view.numpy(), 1 - nearest / nearest.max(), atol=1e-5)


def test_default_arguments():
    assert repr(RealisticProjection()) == (
        'RealisticProjection(resolution=110, depth_bins=8, densify_kernel=7, smooth_kernel=3, sigma=3.0, '
        'object_ratio=0.8, depth_bias=0.2, view_angles=None, elevation=20.0, output_resolution=None, '
        'align_corners=False)')
    RealisticProjection(resolution=8, depth_bins=3, object_ratio=1, depth_bias=0, elevation=-89.9, output_resolution=1)


def test_own_views_are_those_of_cameras_around_below_and_above():
    """Eight cameras 20 degrees above the horizon, one 12 degrees off straight up and one off straight down."""
    points = torch.rand(4000, 3, generator=torch.Generator().manual_seed(0))
    points = points[points[:, 0] < points[:, 1]] * torch.tensor([1., 1, .2])  # a wedge, different from each side
    project = RealisticProjection()
    own = project([points])[0]
    around = RealisticProjection(view_angles=(45, 135, 225, 315, 0, 90, 180, 270))([points])[0]
    below = RealisticProjection(view_angles=(0,), elevation=-78)([points])[0]
    above = RealisticProjection(view_angles=(180,), elevation=78)([points])[0, 0]
    assert project.num_views == len(own) == 10
    assert ((own[:9] - torch.cat((around, below))).abs() > 1e-5).float().mean() < .01  # rounding to the grid
    # The last camera is beyond the top: what it sees is rotated by half a turn.
    assert ((own[9] < .99) ^ (above.rot90(2) < .99)).float().mean() < .1  # edges
    assert ((own[9] < .99) ^ (above < .99)).float().mean() > .2


def test_output_is_resized_bilinearly():
    project = RealisticProjection(resolution=8, view_angles=(0, 60))
    resized = RealisticProjection(resolution=8, view_angles=(0, 60), output_resolution=4)([cloud()])
    torch.testing.assert_close(resized, torch.nn.functional.avg_pool2d(project([cloud()]), 2))
    corners = RealisticProjection(resolution=8, view_angles=(0, 60), output_resolution=15, align_corners=True)
    torch.testing.assert_close(corners([cloud()])[:, :, ::2, ::2], project([cloud()]))


def test_own_views_show_a_cloud_with_z_up_upright():
    """A post on a wide foot: in the eight views around it the foot is below the post, in the last two around it."""
    generator = torch.Generator().manual_seed(0)
    foot, post = (torch.rand(1500, 3, generator=generator) - .5 for _ in range(2))
    points = torch.cat((foot * torch.tensor([1., 1, .1]), post * torch.tensor([.1, .1, 1]) + torch.tensor([0, 0, .5])))
    views = RealisticProjection()([points])[0] < .99
    for view in views[:8]:
        seen = view.any(1).nonzero()[:, 0]
        width = view[seen.min():seen.max() + 1].float().sum(1)
        top, bottom = width[:len(width) // 4].mean(), width[-len(width) // 4:].mean()
        assert bottom > 2 * top, (top, bottom)
    for view in views[8:]:
        rows, columns = view.nonzero().float().T
        assert abs(rows.mean() - columns.mean()) < 15 and view.float().mean() > .2


@pytest.mark.parametrize('densify_kernel', [1, 3, 5, 7, 11])
@pytest.mark.parametrize('view_angles', [None, (0, 90)])
def test_depth_maps_have_the_resolution_that_is_asked_for(densify_kernel, view_angles):
    for resolution in (64, 110, 224):
        project = RealisticProjection(resolution, densify_kernel=densify_kernel, view_angles=view_angles)
        views = project([cloud()])
        assert views.shape == (1, project.num_views, resolution, resolution)
        assert torch.equal(views.amin((2, 3)), torch.zeros(1, project.num_views)) and views.max() == 1
        # The longest side fills four fifths of the frame, and densifying adds half its kernel on each side.
        dark = (views[0] < 1).nonzero()[:, 1:]
        side = (dark.amax(0) - dark.amin(0)).max() + 1
        assert side == pytest.approx(.8 * resolution + densify_kernel + 2, abs=.07 * resolution)


def test_far_clouds_have_the_views_of_the_centered_cloud():
    points = cloud().double()
    for view_angles in (None, (0, 60)):
        project = RealisticProjection(view_angles=view_angles)
        expected = project([points])
        far = project([points + torch.tensor([4.5e5, 5.4e6, 300], dtype=torch.float64)])
        assert ((far - expected).abs() > 1 / 255).float().mean() < .002


def test_invariances_and_range():
    project = RealisticProjection(view_angles=(0, 90), output_resolution=56)
    points = cloud()
    first = project([points, cloud('lamp')])
    assert first.shape == (2, 2, 56, 56) and first.dtype == torch.float32 and project.num_views == 2
    assert first.min() >= 0 and first.max() == 1 and (first[:, :, 0] == 1).all()
    assert torch.equal(project([points])[0], first[0])
    shuffled = points[torch.randperm(len(points))]
    assert torch.equal(project([torch.cat((shuffled, shuffled[:50]))])[0], first[0])


def test_sees_the_object_where_the_contour_aware_one_sees_it():
    views = dict(view_angles=(30, 150), elevation=20.)
    ours = ContourAwareProjection(resolution=112, **views)([cloud('table')])[0] < .99
    theirs = RealisticProjection(output_resolution=112, **views)([cloud('table')])[0] < .99
    overlap = (ours & theirs).sum((1, 2)) / (ours | theirs).sum((1, 2))
    assert (overlap > .75).all(), overlap


def test_empty_cloud_and_single_point():
    project = RealisticProjection(view_angles=(0, ))
    assert (project([torch.zeros(0, 3)]) == 1).all()
    assert (project([torch.ones(1, 3)]) < 1).any()
    assert project([]).shape == (0, 1, 110, 110)
    assert RealisticProjection(output_resolution=32)(torch.zeros(0, 9, 3)).shape == (0, 10, 32, 32)


@pytest.mark.parametrize('name, value', [
    ('resolution', 7), ('depth_bins', 2), ('densify_kernel', 4), ('smooth_kernel', 2), ('sigma', 0.),
    ('object_ratio', 0.), ('object_ratio', float('nan')), ('depth_bias', -.1), ('view_angles', ()),
    ('view_angles', (0, float('inf'))), ('elevation', 90.), ('output_resolution', 0)])
def test_arguments_are_checked(name, value):
    with pytest.raises(ValueError, match=f'{name} must'):
        RealisticProjection(**{name: value})


def test_config_names_the_projection():
    transform = ProjectPointsToDepth(dict(type='RealisticProjection', view_angles=(0, 60), output_resolution=32))
    assert transform(dict(points=cloud()))['depth_views'].shape == (2, 32, 32)
    assert isinstance(build_projection(dict(resolution=32)), ContourAwareProjection)
    with pytest.raises(ValueError, match='Perspective'):
        build_projection(dict(type='Perspective'))
    with pytest.raises(ValueError, match='with_matrices'):
        ProjectPointsToDepth(dict(type='RealisticProjection'), with_matrices=True)
