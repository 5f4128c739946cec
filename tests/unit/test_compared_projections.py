"""Projections of PointCLIP and CLIP2Point: their definition, their contract, and detection with them by config."""
import numpy as np
import pytest
import torch

from opendlign_mm.projection import PointCLIPProjection, RenderedDepthProjection, build_projection
from opendlign_mm.projection.rendered import RANGE, camera_axes

PROJECTIONS = [dict(type='PointCLIPProjection', output_resolution=56),
               dict(type='PointCLIPProjection', views='few_shot'),
               dict(type='RenderedDepthProjection', resolution=64, radius=.05),
               dict(type='RenderedDepthProjection', views='few_shot', yaw=90, backend='torch')]


def cloud(n=400, seed=0):
    points = torch.rand(n, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) - .5
    return points[points[:, 0] < points[:, 1]] * torch.tensor([1., .7, 1.2])


@pytest.mark.parametrize('config', PROJECTIONS, ids=repr)
def test_contract_of_projections(config):
    project, points = build_projection(config), cloud()
    views = project([points, points[:50], points[:0]])
    assert views.shape[:2] == (3, project.num_views) and views.dtype == torch.float32
    assert views.shape[2] == views.shape[3] == (config.get('output_resolution') or config.get('resolution', 224))
    assert views.min() >= 0 and views.max() <= 1
    background = 0. if 'PointCLIP' in config['type'] else 1.
    assert (views[2] == background).all() and all((view != background).any() for view in views[:2].flatten(0, 1))
    torch.testing.assert_close(project([points])[0], views[0])
    far = points.flip(0) * 7 + torch.tensor([4.5e5, 5.4e6, 300], dtype=torch.float64)
    assert ((project([far])[0] - views[0]).abs() > 1e-3).float().mean() < .002
    assert project([]).shape == project(torch.zeros(0, 5, 3)).shape == (0, *views.shape[1:])
    # Coinciding points are drawn at the origin.
    assert (project([torch.ones(3, 3)])[0] != background).flatten(1).any(1).all()
    with pytest.raises(ValueError, match='cloud 0 has 1 of 2'):
        project([torch.tensor([[0, 0, float('nan')], [0, 0, 0]])])
    assert repr(build_projection(config)) == repr(project)


def test_pointclip_takes_the_harmonic_mean_of_depths_in_a_pixel():
    """View 0 looks along -y with z up, mirrored; what is behind its camera is not drawn."""
    points = torch.tensor([[0., .4, 0.], [0., -.2, 0.], [.5, 0., 0.], [0., 0., .6], [.1, 1.7, .1]])
    view = PointCLIPProjection(normalize=False, output_resolution=None)([points])[0, 0] * 4
    found = {tuple(pixel): view[tuple(pixel)].item() for pixel in view.nonzero().tolist()}
    right, up = 64 + .5 / 1.6 * 64, 64 - .6 / 1.6 * 64
    assert found == {(64, 64): pytest.approx(2 / (1 / 1.2 + 1 / 1.8), rel=1e-5), (64, int(right)): pytest.approx(1.6),
                     (int(up), 64): pytest.approx(1.6)}


def test_pointclip_keeps_corner_pixels_when_it_resizes():
    plain = PointCLIPProjection(resolution=8, output_resolution=None)([cloud()])
    resized = PointCLIPProjection(resolution=8, output_resolution=15)([cloud()])
    torch.testing.assert_close(resized[:, :, ::2, ::2], plain)


def test_rendered_discs_by_hand():
    """Two discs in the first view, from -y... each pixel center within the radius, and the nearer one in front."""
    points = torch.tensor([[0.013, 0., .021], [0.113, .3, .021], [-.6, -.5, -.4]])
    view = RenderedDepthProjection(resolution=50, radius=.1, normalize=False)([points])[0, 0].numpy()
    centers = (2 * np.arange(50) + 1) / 50 - 1
    expected = np.full((50, 50), np.inf)
    # The first camera stands on the -y side of objects with z up and sees +x on its right.
    for x, y, z in points.numpy():
        covered = (centers[None] - x)**2 + (-centers[:, None] - z)**2 < .01
        expected[covered] = np.minimum(expected[covered], y + 1)
    filled = np.isfinite(expected)
    smallest, largest = min(expected.min(), 1), expected[filled].max()
    np.testing.assert_allclose(view, np.where(filled, (expected - smallest) / largest * RANGE, 1), atol=1e-6)
    assert 40 < filled.sum() < 60


def test_rendered_backends_agree_and_one_view_is_that_of_all():
    points = [cloud(), cloud(30, 1)]
    for views, distance in (('few_shot', .9), (((12, 34), (-80, 90)), 1.1)):
        ours = RenderedDepthProjection(views, resolution=90, distance=distance, yaw=20)
        reference = RenderedDepthProjection(views, resolution=90, distance=distance, yaw=20, backend='torch')(points)
        assert torch.equal(ours(points), reference)
        assert torch.equal(ours(points, view=1)[:, 0], reference[:, 1])
        other = RenderedDepthProjection(views, resolution=90, yaw=20)(points, distance=distance)
        assert torch.equal(other, reference)
    nearer, farther = (RenderedDepthProjection(radius=.01)(points, view=0, distance=value) for value in (.9, 1.1))
    width = [(maps[0, 0] < 1).any(0).nonzero() for maps in (nearer, farther)]
    assert (width[0].max() - width[0].min()) / (width[1].max() - width[1].min()) == pytest.approx(1.1 / .9, rel=.05)


def test_cameras_are_orthonormal_and_turn_with_the_object():
    axes = camera_axes([(10, 20), (0, 90), (0, 270), (180, -90), (45, 225)], yaw=30)
    torch.testing.assert_close(axes @ axes.transpose(1, 2), torch.eye(3).expand(5, 3, 3), atol=1e-6, rtol=0)
    # Azimuth 0 looks along +y; an object turned by 90 degrees is seen as by a camera turned by -90.
    torch.testing.assert_close(camera_axes([(0, 0)])[0, 2], torch.tensor([0., 1., 0.]))
    torch.testing.assert_close(camera_axes([(0, 0)], yaw=90)[0, 2], torch.tensor([1., 0., 0.]), atol=1e-6, rtol=0)


@pytest.mark.parametrize('kind, arguments, message', [
    (PointCLIPProjection, dict(views='ten'), 'views must'), (PointCLIPProjection, dict(distance=1.), 'distance must'),
    (PointCLIPProjection, dict(max_depth=2.5), 'max_depth must'),
    (PointCLIPProjection, dict(resolution=1), 'resolution must'),
    (PointCLIPProjection, dict(output_resolution=0), 'output_resolution must'),
    (RenderedDepthProjection, dict(views='ten'), 'views must'), (RenderedDepthProjection, dict(views=()), 'views must'),
    (RenderedDepthProjection, dict(views=[(0, 1, 2)]), 'views must'),
    (RenderedDepthProjection, dict(radius=0.), 'radius must'), (RenderedDepthProjection, dict(distance=0), 'distance'),
    (RenderedDepthProjection, dict(backend='pytorch3d'), 'backend must'),
    (RenderedDepthProjection, dict(yaw=float('nan')), 'yaw must')])
def test_arguments_are_checked(kind, arguments, message):
    with pytest.raises(ValueError, match=message):
        kind(**arguments)


def test_what_the_projections_cannot_draw_is_refused():
    with pytest.raises(ValueError, match='cloud 1 has points at depth 4.6.*normalize=True'):
        PointCLIPProjection(normalize=False)([cloud(), torch.tensor([[3., 0, 0]])])
    with pytest.raises(ValueError, match='view must be one of 0 to 5'):
        RenderedDepthProjection()([cloud()], view=6)
