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
    depth_views = RealisticProjection()(torch.from_numpy(data['points'])[None])[0]
    np.testing.assert_allclose(depth_views.numpy(), data['pointclip_v2'], atol=1e-5)


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


@pytest.mark.parametrize('kwargs', [dict(depth_bins=2), dict(densify_kernel=4), dict(object_ratio=0.), dict(sigma=0.)])
def test_refuses(kwargs):
    with pytest.raises(ValueError, match='RealisticProjection needs'):
        RealisticProjection(**kwargs)


def test_config_names_the_projection():
    transform = ProjectPointsToDepth(dict(type='RealisticProjection', view_angles=(0, 60), output_resolution=32))
    assert transform(dict(points=cloud()))['depth_views'].shape == (2, 32, 32)
    assert isinstance(build_projection(dict(resolution=32)), ContourAwareProjection)
    with pytest.raises(ValueError, match='Perspective'):
        build_projection(dict(type='Perspective'))
    with pytest.raises(ValueError, match='with_matrices'):
        ProjectPointsToDepth(dict(type='RealisticProjection'), with_matrices=True)
