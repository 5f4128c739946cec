"""Random crops of scenes."""
import numpy as np
import pytest
import torch
from mmdet3d.structures import DepthInstance3DBoxes, DepthPoints

from opendlign_mm.datasets.transforms import RandomCuboid


def scene(seed=0):
    generator = torch.Generator().manual_seed(seed)
    points = torch.rand(4000, 6, generator=generator) * torch.tensor([6, 5, 3, 255, 255, 255])
    centers = torch.rand(12, 3, generator=generator) * torch.tensor([6, 5, 3])
    boxes = DepthInstance3DBoxes(torch.cat([centers, torch.ones(12, 3)], 1), box_dim=6, with_yaw=False,
                                 origin=(.5, .5, .5))
    return dict(points=DepthPoints(points, points_dim=6), gt_bboxes_3d=boxes, gt_labels_3d=np.arange(12))


def test_what_remains_is_a_cuboid_of_the_scene():
    np.random.seed(0)
    shares, counts = [], []
    for _ in range(50):
        before = scene()
        after = RandomCuboid(min_points=500, min_crop=.5, max_crop=.9)(dict(before))
        xyz, whole = after['points'].coord, before['points'].coord
        low, high = xyz.amin(0), xyz.amax(0)
        assert ((whole >= low) & (whole <= high)).all(dim=1).sum() == len(xyz) >= 500  # all points within, no others
        assert after['points'].tensor.shape[1] == 6
        kept = after['gt_labels_3d']
        centers = before['gt_bboxes_3d'].gravity_center
        inside = ((centers >= low) & (centers <= high)).all(dim=1).numpy()
        assert kept.tolist() == np.flatnonzero(inside).tolist() and len(kept) > 0
        torch.testing.assert_close(after['gt_bboxes_3d'].gravity_center, centers[kept])
        shares.append(((high - low) / (whole.amax(0) - whole.amin(0))).max().item())
        counts.append(len(xyz))
    assert max(shares) <= .9 and len(set(counts)) > 30


def test_scene_stays_where_no_cuboid_fits():
    for options in (dict(min_points=5000), dict(min_points=10, min_crop=.01, max_crop=.02)):
        before = scene()
        after = RandomCuboid(num_tries=5, **options)(dict(before))
        assert len(after['points']) == 4000 and len(after['gt_labels_3d']) == 12


@pytest.mark.parametrize('shares, cropped', [((1., .7, .5), False), ((.5, 1., .85), True), ((.5, .4, 1.), True)])
def test_two_sides_of_a_cuboid_have_shares_of_a_similar_size(monkeypatch, shares, cropped):
    """The smaller share is at least 0.8 of the larger one for some pair: 0.714, 0.85 and 0.8."""
    monkeypatch.setattr(np.random, 'uniform', lambda *_: np.array(shares))
    after = RandomCuboid(min_points=10, num_tries=20)(scene())
    assert (len(after['points']) < 4000) == cropped
    assert len(RandomCuboid(min_points=10, num_tries=20, min_aspect=.7)(scene())['points']) < 4000


def test_scene_without_boxes_is_cropped_too():
    before = scene()
    before.update(gt_bboxes_3d=before['gt_bboxes_3d'][np.zeros(12, dtype=bool)], gt_labels_3d=np.zeros(0, dtype=int))
    after = RandomCuboid(min_points=10, max_crop=.9)(before)
    assert len(after['points']) < 4000 and len(after['gt_bboxes_3d']) == 0


def test_bad_range():
    with pytest.raises(ValueError, match='min_crop'):
        RandomCuboid(min_points=1, min_crop=.9, max_crop=.5)
