"""Which axis of a shape is up, and the warning when a guess makes shapes lie."""
import numpy as np
import pytest

from opendlign_mm.datasets.procedural import sample_shape
from opendlign_mm.point_files import PointCloud
from opendlign_mm.point_files.shape_pose import UpAxisCheck, z_up


def shape(category, seed=0):
    return sample_shape(category, np.random.default_rng(seed), 3000).points.astype(np.float64)


def lying(points):
    """Return z-up points as a file with y up has them."""
    return np.stack([points[:, 0], points[:, 2], -points[:, 1]], axis=1)


def check(clouds, up=None):
    found = UpAxisCheck()
    for points in clouds:
        found.add(PointCloud(points, None, 'a.obj', 'mesh', up=up), points)
    return found.doubt()


def test_y_up_is_turned_by_a_rotation():
    np.testing.assert_array_equal(z_up(np.array([[1., 2, 3]]), 'y'), [[1, -3, 2]])
    np.testing.assert_array_equal(z_up(np.array([[1., 2, 3]]), 'z'), [[1, 2, 3]])
    np.testing.assert_allclose(z_up(lying(shape('table')), 'y'), shape('table'))


@pytest.mark.parametrize('category', ['table', 'lamp', 'bottle', 'bathtub'])
def test_a_single_shape_that_lies_is_doubted_and_one_that_stands_is_not(category):
    assert check([shape(category)]) is None
    assert 'the shape seems to lie on the back' in check([lying(shape(category))])
    assert check([lying(shape(category))], up='z') is None, 'the standard of the format says it'


def test_many_shapes_are_doubted_once_by_their_mean():
    categories = ['chair', 'table', 'sofa', 'window', 'cup', 'cabinet']
    assert check([shape(category) for category in categories]) is None
    assert 'most of 6 shapes seem to lie' in check([lying(shape(category)) for category in categories])
    assert check([]) is None
