"""Pipeline transforms: projection, packing, and a depth view as the image of another detector."""
import numpy as np
import pytest
import torch
from mmdet3d.registry import TRANSFORMS

from opendlign_mm.datasets.transforms import DepthViewToImage, PackShapeInputs, ProjectPointsToDepth
from opendlign_mm.projection import ContourAwareProjection
from opendlign_mm.structures import ShapeDataSample

PROJECTION = dict(resolution=40, depth_bins=16, view_angles=(30, 100, 250))


@pytest.fixture
def points() -> np.ndarray:
    """An L of two boxes, not symmetric, away from the origin."""
    rng = np.random.default_rng(0)
    upright = rng.uniform((0, 0, 0), (.2, .6, 2), (400, 3))
    foot = rng.uniform((0, 0, 0), (1.2, .6, .2), (400, 3))
    return (np.concatenate((upright, foot)) + (5, -3, 1)).astype(np.float32)


def test_projection_equals_the_callable(points):
    transform = TRANSFORMS.build(dict(type='ProjectPointsToDepth', projection=PROJECTION))
    views = transform(dict(points=points))['depth_views']
    expected = ContourAwareProjection(**PROJECTION)(torch.from_numpy(points)[None])[0]
    assert views.dtype == np.float32 and views.shape == (3, 40, 40)
    assert 0 <= views.min() < .5 and views.max() == 1
    np.testing.assert_array_equal(views, expected.numpy())


def test_points_may_be_array_tensor_or_base_points_with_more_columns(points):
    from mmdet3d.structures import DepthPoints
    transform = ProjectPointsToDepth(PROJECTION)
    wide = np.concatenate((points, np.random.rand(len(points), 3).astype(np.float32)), axis=1)
    views = [transform(dict(points=form))['depth_views'] for form in (
        points, torch.from_numpy(points), wide, DepthPoints(torch.from_numpy(wide), points_dim=6))]
    for other in views[1:]:
        np.testing.assert_array_equal(views[0], other)


def test_default_projection_and_any_callable(points):
    assert ProjectPointsToDepth().projection.num_views == 10
    transform = ProjectPointsToDepth(lambda clouds: torch.stack([torch.ones(2, 3, 3) for _ in clouds]))
    assert transform(dict(points=points))['depth_views'].shape == (2, 3, 3)


@pytest.mark.parametrize('results, message', [
    (dict(img=None), "no 'points'"),
    (dict(points=np.zeros((4, 2))), r'\(N, >=3\)'),
    (dict(points=np.zeros((2, 4, 3))), r'\(N, >=3\)'),
    (dict(points=[[0., 0., 0.]]), r'\(N, >=3\)'),
    (dict(points=np.array([[0., 0., np.nan], [0, 0, 0]])), '1'),
])
def test_wrong_points_are_named(results, message):
    with pytest.raises(ValueError, match=message):
        ProjectPointsToDepth(PROJECTION)(results)


def test_empty_cloud_gives_white_views():
    results = ProjectPointsToDepth(PROJECTION, with_matrices=True)(dict(points=np.zeros((0, 3), np.float32)))
    assert (results['depth_views'] == 1).all() and np.isfinite(results['depth_view_matrices']).all()


def test_matrices_take_points_to_their_pixels(points):
    """A blob at a point's end appears where the matrix says, in every view and at any elevation."""
    for elevation in (0., 20., 60.):
        transform = ProjectPointsToDepth(dict(PROJECTION, elevation=elevation, densify_kernel=1, smooth_kernel=1),
                                         with_matrices=True)
        results = transform(dict(points=points))
        homogeneous = np.concatenate((points, np.ones((len(points), 1), np.float32)), axis=1)
        for view, matrix in zip(results['depth_views'], results['depth_view_matrices']):
            projected = homogeneous @ matrix.T
            np.testing.assert_allclose(projected[:, 2:], 1)
            column, row = (np.clip(np.floor(projected[:, axis] + .5), 0, 39).astype(int) for axis in (0, 1))
            # Rounding may put a point on a pixel border to either side.
            seen = view[row, column] < 1
            assert seen.mean() > .97
            silhouette = np.zeros_like(view, dtype=bool)
            silhouette[row, column] = True
            assert (silhouette ^ (view < 1)).sum() <= .05 * (view < 1).sum()


def test_map_coordinates_are_not_rounded(points):
    """float64 points 5,000 km from the origin have the views of the cloud at the origin, which float32 would lose."""
    at_home = ProjectPointsToDepth(PROJECTION)(dict(points=points))['depth_views']
    points = points.astype(np.float64) + [4.5e5, 5.4e6, 300]
    far = ProjectPointsToDepth(PROJECTION)(dict(points=points))['depth_views']
    assert (np.abs(far - at_home) > 1 / 255).mean() < .002
    with pytest.raises(ValueError, match='too far from the origin.*center them'):
        ProjectPointsToDepth(PROJECTION, with_matrices=True)(dict(points=points))


def test_depth_view_becomes_an_image(points):
    results = ProjectPointsToDepth(PROJECTION, with_matrices=True)(dict(points=points))
    results = TRANSFORMS.build(dict(type='DepthViewToImage', view=1))(results)
    assert results['img'].shape == (40, 40, 3) and results['img'].dtype == np.uint8
    np.testing.assert_allclose(results['img'][..., 0] / 255, results['depth_views'][1], atol=.5 / 255)
    assert (results['img'] == results['img'][..., :1]).all()
    np.testing.assert_array_equal(results['depth2img'], results['depth_view_matrices'][1])
    assert results['img_shape'] == (40, 40)


def test_depth_view_to_image_says_what_is_missing(points):
    with pytest.raises(ValueError, match='with_matrices=True'):
        DepthViewToImage()(ProjectPointsToDepth(PROJECTION)(dict(points=points)))
    with pytest.raises(ValueError, match='views 0 to 2'):
        DepthViewToImage(view=3)(ProjectPointsToDepth(PROJECTION, with_matrices=True)(dict(points=points)))


def test_packing():
    depth_views = np.random.rand(4, 8, 8).astype(np.float32)
    images = np.random.randint(0, 256, (4, 8, 8, 3), dtype=np.uint8)
    packed = TRANSFORMS.build(dict(type='PackShapeInputs'))(dict(
        depth_views=depth_views, images=images, gt_label=np.int64(7), sample_id='shape-1', category='cup', other=1))
    inputs, sample = packed['inputs'], packed['data_samples']
    assert isinstance(sample, ShapeDataSample)
    assert inputs['depth_views'].dtype == torch.float32 and inputs['images'].dtype == torch.uint8
    np.testing.assert_array_equal(inputs['depth_views'].numpy(), depth_views)
    np.testing.assert_array_equal(inputs['images'].permute(0, 2, 3, 1).numpy(), images)
    assert sample.gt_label.tolist() == [7] and sample.metainfo == dict(sample_id='shape-1', category='cup')


def test_packing_without_images_and_label():
    packed = PackShapeInputs()(dict(depth_views=np.ones((2, 4, 4), np.float32)))
    assert set(packed['inputs']) == {'depth_views'} and 'gt_label' not in packed['data_samples']


@pytest.mark.parametrize('changes, message', [
    (dict(depth_views=None), 'ProjectPointsToDepth'),
    (dict(depth_views=np.ones((4, 4), np.float32)), r'\(V, H, W\)'),
    (dict(images=np.ones((4, 8, 8, 3), np.uint8)), 'one image for each depth view'),
    (dict(images=np.ones((2, 8, 8, 3), np.float32)), 'uint8'),
    (dict(images=np.ones((2, 3, 8, 8), np.uint8)), r'\(2, H, W, 3\)'),
])
def test_packing_names_object_and_fault(changes, message):
    results = dict(dict(depth_views=np.ones((2, 8, 8), np.float32), sample_id='shape-9'), **changes)
    with pytest.raises(ValueError, match=message) as error:
        PackShapeInputs()(results)
    assert 'shape-9' in str(error.value)
