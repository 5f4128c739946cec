"""Room planes, cluster trees, both proposal sources, and the class-agnostic recall."""
import numpy as np
import pytest
import torch
from mmdet3d.structures import DepthInstance3DBoxes, Det3DDataSample
from mmengine.structures import InstanceData

from helpers.scenes import box_surface, furnished_room
from opendlign_mm.box_ops.iou import box_overlaps
from opendlign_mm.box_ops.nms import nms_3d
from opendlign_mm.detection import ClusterProposals, GroundTruthProposals
from opendlign_mm.detection.proposals import clusters, room_planes
from opendlign_mm.detection.proposals.clusters import cluster_tree_boxes
from opendlign_mm.detection.proposals.room_planes import find_room_planes
from opendlign_mm.evaluation.box_metrics import ProposalRecall
from opendlign_mm.point_ops.normals import estimate_normals


def depth_boxes(boxes):
    """From gravity centers and sizes (M, 6)."""
    return DepthInstance3DBoxes(boxes, box_dim=6, with_yaw=False, origin=(0.5, 0.5, 0.5))


@pytest.mark.parametrize('turn', [0., 0.5])
def test_planes_take_the_room_and_leave_the_furniture(turn):
    points, boxes = furnished_room(turn)
    xyz = points[:, :3].double().numpy()
    room = find_room_planes(xyz, estimate_normals(xyz))
    assert room.num_walls == 4
    assert abs(room.floor_height) < 0.03
    furniture = np.arange(len(xyz)) < 2800
    above_floor = xyz[:, 2] > 0.08
    assert room.structure[~furniture].mean() > 0.95
    assert room.structure[furniture & above_floor].mean() < 0.05


def test_the_best_vertical_plane_is_the_one_that_most_points_agree_with():
    """The count of each candidate, written out in NumPy; the offset is the median of the points that agree."""
    rng = np.random.default_rng(3)
    xyz, normals = rng.random((400, 3)), rng.normal(size=(400, 3))
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    candidates, chosen = np.arange(50, 400), rng.choice(400, 40, replace=False)
    direction, offset = room_planes._best_vertical_plane(xyz, normals, candidates, .1, chosen)
    directions = normals[chosen, :2] / np.linalg.norm(normals[chosen, :2], axis=1, keepdims=True)
    distances = xyz[candidates, :2] @ directions.T
    agree = ((np.abs(distances - (directions * xyz[chosen, :2]).sum(axis=1)) < .1)
             & (normals[candidates, :2] @ directions.T > .8))
    best = agree.sum(axis=0).argmax()
    assert np.allclose(direction, [*directions[best], 0]) and agree.sum(axis=0)[best] > 10
    assert offset == pytest.approx(np.median(distances[agree[:, best], best]))


def test_planes_of_a_lone_object_are_none():
    xyz = box_surface(np.zeros(3), np.array([0.5, 0.5, 0.5]), 500, np.random.default_rng(0))
    room = find_room_planes(xyz, estimate_normals(xyz))
    assert room.num_walls == 0


def test_normals_of_a_plane():
    rng = np.random.default_rng(0)
    xyz = np.concatenate([rng.uniform(-1, 1, (300, 2)), np.zeros((300, 1))], axis=1)
    assert np.abs(estimate_normals(xyz)[:, 2]).min() > 0.999


def test_cluster_tree_finds_groups_at_all_scales():
    rng = np.random.default_rng(0)
    groups = [rng.uniform(-0.1, 0.1, (50, 3)) + center for center in ([0, 0, 0], [0.5, 0, 0], [5, 5, 5])]
    xyz = np.concatenate(groups)
    tree = cluster_tree_boxes(xyz, xyz, min_points=30)
    wanted = [groups[0], groups[1], groups[2], np.concatenate(groups[:2]), xyz]
    found = {(count, *lower.round(6), *upper.round(6)) for count, lower, upper in
             zip(tree.num_points.tolist(), tree.lower, tree.upper)}
    for group in wanted:
        assert (len(group), *group.min(0).round(6), *group.max(0).round(6)) in found
    assert len(cluster_tree_boxes(xyz[:10], xyz[:10]).num_points) == 0
    stray = np.concatenate([xyz, [[-5., -5., -5.]]])
    assert cluster_tree_boxes(stray, stray, min_points=30).lower.min() > -1


@pytest.mark.parametrize('colored', [True, False])
def test_cluster_proposals_find_the_furniture(colored):
    points, truth = furnished_room()
    proposals = ClusterProposals()(points if colored else points[:, :3])
    assert 4 <= len(proposals) <= 128
    assert isinstance(proposals.bboxes_3d, DepthInstance3DBoxes)
    assert proposals.objectness.dtype == torch.float32
    assert (proposals.objectness.diff() <= 0).all()
    assert proposals.objectness.min() >= 0 and proposals.objectness.max() <= 1
    best = box_overlaps(proposals.bboxes_3d[:16], depth_boxes(truth)).max(dim=0).values
    assert best.min() > 0.7, best


def test_cluster_proposals_are_deterministic_and_follow_the_points():
    points, _ = furnished_room()
    first, second = (ClusterProposals(max_points=6000)(points) for _ in range(2))
    assert torch.equal(first.bboxes_3d.tensor, second.bboxes_3d.tensor)
    shift = torch.tensor([8., -4., 1.5, 0, 0, 0])
    moved = ClusterProposals(max_points=6000)(points + shift).bboxes_3d
    moved.translate(-shift[:3])
    assert (box_overlaps(moved[:8], first.bboxes_3d).max(dim=1).values > 0.8).all()


def test_objectness_of_clusters_by_hand():
    """Purity x isolation x (share of the points) ** 1/4 x compactness, for one box of a meter and one of four."""
    inside = torch.full((10, 3), .2)  # of both boxes
    around = torch.tensor([[.6, 0, 0]]).repeat(5, 1)  # 10 cm outside the small box, inside the large one
    beyond = torch.tensor([[.7, 0, 0]])  # 20 cm outside the small box
    points = torch.cat([inside, around, beyond])
    boxes = depth_boxes(torch.tensor([[0., 0, 0, 1, 1, 1], [0, 0, 0, 4, 1, 1]]))
    objectness = ClusterProposals()._objectness(points, boxes, torch.tensor([8, 16]))
    small = 8 / 10 * 10 / 15 * (8 / 16)**.25
    large = 16 / 16 * 16 / 16 * (16 / 16)**.25 * 2 / 4
    assert objectness.tolist() == pytest.approx([small, large])
    wider = ClusterProposals(surroundings=.25, typical_size=1.)._objectness(points, boxes, torch.tensor([8, 32]))
    assert wider.tolist() == pytest.approx([8 / 10 * 10 / 16 * (8 / 16)**.25, 2**.25 / 4])


def test_boxes_near_the_floor_are_extended_to_it():
    lower = np.array([[0., 0, .15], [0, 0, .25], [0, 0, -.05], [1, 1, .5]])
    upper = np.array([[1., 1, 1], [1, 1, 1], [1, 1, 1], [1.01, 2, 1]])
    boxes = ClusterProposals()._boxes(lower, upper, floor_height=0.)
    torch.testing.assert_close(boxes.bottom_height, torch.tensor([0., .25, -.05, .5]))
    torch.testing.assert_close(boxes.top_height, torch.ones(4))
    torch.testing.assert_close(boxes.dims[3], torch.tensor([.05, 1, .5]))  # thin boxes are 5 cm thick
    torch.testing.assert_close(boxes.gravity_center[3], torch.tensor([1.005, 1.5, .75]))
    assert ClusterProposals(floor_gap=.3)._boxes(lower, upper, 0.).bottom_height.tolist()[1] == 0
    assert ClusterProposals()._boxes(lower, upper, None).bottom_height.tolist()[0] == pytest.approx(.15)


def test_large_scenes_are_sampled_evenly(monkeypatch):
    """Not their first points: the second half of the points is as well represented, and all columns belong together."""
    points, _ = furnished_room()
    seen = []
    monkeypatch.setattr(clusters, 'estimate_normals', lambda xyz: seen.append(xyz) or estimate_normals(xyz))
    ClusterProposals(max_points=3000)(points)
    xyz = points[:, :3].double().numpy()
    places = {tuple(row): number for number, row in enumerate(xyz)}
    numbers = np.array([places[tuple(row)] for row in seen[0]])
    assert len(numbers) == len(set(numbers)) == 3000
    assert abs((numbers >= len(points) // 2).mean() - .5) < .05
    ClusterProposals(max_points=3000, seed=1)(points)
    assert not np.array_equal(seen[1], seen[0])


def test_cluster_proposals_options():
    points, _ = furnished_room()
    assert len(ClusterProposals(max_proposals=3)(points)) == 3
    small = ClusterProposals(max_size=0.9)(points)
    assert small.bboxes_3d.dims.max() <= 0.9 + 0.2  # the way down to the floor may be added
    two_trees = ClusterProposals(feature_weights=[(0., 0.), (0.5, 2.5)], max_proposals=500)(points)
    assert len(two_trees) >= len(ClusterProposals(max_proposals=500)(points))
    with pytest.raises(ValueError, match='feature_weights'):
        ClusterProposals(feature_weights=[])
    with pytest.raises(ValueError, match='feature_weights'):
        ClusterProposals(feature_weights=[(1., -1.)])
    for option in ('max_points', 'num_neighbors', 'min_points', 'max_proposals'):
        with pytest.raises(ValueError, match=f'{option}.* must be >= 1'):
            ClusterProposals(**{option: 0})


def test_nothing_to_cluster_is_an_empty_result():
    flat = torch.rand(3000, 3) * torch.tensor([4., 4., 0.])
    for points in (flat, torch.rand(3, 3), torch.rand(1, 6)):
        proposals = ClusterProposals()(points)
        assert len(proposals) == 0
        assert proposals.bboxes_3d.tensor.shape == (0, 7) and proposals.objectness.shape == (0, )


@pytest.mark.parametrize('source', [ClusterProposals, GroundTruthProposals])
def test_bad_points(source):
    points, _ = furnished_room()
    points[[5, 9], 1] = float('nan')
    points[7, 2] = float('inf')
    with pytest.raises(ValueError, match='3 of 11800 points have non-finite'):
        source()(points)
    with pytest.raises(ValueError, match='no points'):
        source()(points[:0])
    with pytest.raises(ValueError, match=r'\(N, >=3\)'):
        source()(points[:, :2])
    with pytest.raises(TypeError, match='floating point'):
        source()(torch.zeros(5, 3, dtype=torch.long))


def test_ground_truth_proposals():
    points, truth = furnished_room()
    boxes = depth_boxes(truth)
    sample = Det3DDataSample()
    sample.eval_ann_info = dict(gt_bboxes_3d=boxes, gt_labels_3d=np.zeros(4, dtype=np.int64))
    proposals = GroundTruthProposals()(points, sample)
    assert torch.equal(proposals.bboxes_3d.tensor, boxes.tensor) and proposals.objectness.tolist() == [1.] * 4
    training = Det3DDataSample(gt_instances_3d=InstanceData(bboxes_3d=boxes, labels_3d=torch.zeros(4).long()))
    assert len(GroundTruthProposals()(points, training)) == 4
    for nothing in (None, Det3DDataSample()):
        with pytest.raises(ValueError, match='needs annotations'):
            GroundTruthProposals()(points, nothing)


@pytest.mark.parametrize('rotated', [False, True])
def test_nms_keeps_the_best_of_each_pile(rotated):
    center = torch.tensor([[0., 0., 0.], [0.05, 0, 0], [3, 0, 0], [3, 0.1, 0], [3, 0.1, 2]])
    boxes = torch.cat([center, torch.ones(5, 3), torch.full((5, 1), 0.3 * rotated)], dim=1)
    boxes = DepthInstance3DBoxes(boxes)
    scores = torch.tensor([0.2, 0.9, 0.5, 0.4, 0.3])
    assert nms_3d(boxes, scores, 0.25).tolist() == [1, 2, 4]
    assert nms_3d(boxes, scores, 0.25, max_num=1).tolist() == [1]
    assert nms_3d(boxes, scores, 0.25, labels=torch.tensor([0, 1, 0, 1, 0])).tolist() == [1, 2, 3, 4, 0]
    assert nms_3d(boxes[:0], scores[:0], 0.25).tolist() == []
    with pytest.raises(ValueError, match='5 boxes but 4 scores'):
        nms_3d(boxes, scores[:4], 0.25)


@pytest.mark.parametrize('box_dim', [6, 7])
def test_overlaps_equal_those_of_mmdet3d(box_dim):
    generator = torch.Generator().manual_seed(0)
    boxes = torch.cat([torch.rand(30, 3, generator=generator) * 2, torch.rand(30, 3, generator=generator) + 0.1,
                       torch.rand(30, 1, generator=generator) * 7 - 3.5], dim=1)
    boxes = DepthInstance3DBoxes(boxes[:, :box_dim], box_dim=box_dim, with_yaw=box_dim == 7)
    torch.testing.assert_close(box_overlaps(boxes, boxes), boxes.overlaps(boxes, boxes), atol=1e-4, rtol=0)
    assert box_overlaps(boxes[:0], boxes).shape == (0, 30)


def test_proposal_recall():
    truth = depth_boxes(torch.tensor([[0., 0, 0, 1, 1, 1], [5, 0, 0, 1, 1, 1]]))
    # The better box overlaps the second annotated box by 1/3, the other one equals the first.
    proposed = depth_boxes(torch.tensor([[0., 0, 0, 1, 1, 1], [5.5, 0, 0, 1, 1, 1]]))
    sample = dict(eval_ann_info=dict(gt_bboxes_3d=truth),
                  proposals_3d=dict(bboxes_3d=proposed, objectness=torch.tensor([0.1, 0.9])))
    empty = dict(eval_ann_info=dict(gt_bboxes_3d=truth[:1]),
                 proposals_3d=dict(bboxes_3d=proposed[:0], objectness=torch.zeros(0)))
    metric = ProposalRecall(max_proposals=(1, ))
    metric.process({}, [sample, empty])
    results = metric.evaluate(2)
    expected = {'recall_0.25': 2 / 3, 'recall_0.50': 1 / 3, 'recall_0.25@1': 1 / 3, 'recall_0.50@1': 0.,
                'per_scene': 1.}
    assert results == pytest.approx({f'proposals/{key}': value for key, value in expected.items()})
    metric.process({}, [dict(sample, num_dropped_proposals=3), dict(empty, num_dropped_proposals=0)])
    assert metric.evaluate(2)['proposals/dropped_per_scene'] == 1.5
    with pytest.raises(ValueError, match='proposals_3d'):
        ProposalRecall().process({}, [dict(eval_ann_info=dict(gt_bboxes_3d=truth))])
    with pytest.raises(ValueError, match='iou_thr'):
        ProposalRecall(iou_thr=(1.5, ))


def test_separate_parts_are_joined_as_scikit_learn_joins_them(recwarn):
    rng = np.random.default_rng(0)
    xyz = np.concatenate([rng.normal(0, .1, (120, 3)) + place for place in ((0, 0, 0), (3, 0, 0), (0, 5, 1))])
    found = cluster_tree_boxes(xyz, xyz, num_neighbors=8, max_edge=.5, min_points=30)
    assert not any('connected components' in str(warning.message) for warning in recwarn)
    # One cluster of all, and one of the two parts that are closest to each other.
    assert sorted(found.num_points)[-5:] == [120, 120, 120, 240, 360]
    pair, = np.flatnonzero(found.num_points == 240)
    assert np.allclose(found.lower[pair], xyz[:240].min(axis=0))
    assert np.allclose(found.upper[pair], xyz[:240].max(axis=0))
