"""Which boxes of 3DETR are selected, by hand."""
import math

import pytest
import torch
from mmdet3d.structures import DepthInstance3DBoxes
from mmengine.structures import InstanceData

from opendlign_mm.detection.three_detr.selection import BoxSelection


def predicted(boxes, probabilities, objectness):
    boxes = torch.tensor(boxes)
    return dict(center=boxes[:, :3], size=boxes[:, 3:6], angle=boxes[:, 6],
                cls_logits=torch.tensor(probabilities).log(), objectness=torch.tensor(objectness))


def grid(low, high, steps=9):
    axes = [torch.linspace(a, b, steps) for a, b in zip(low, high, strict=True)]
    return torch.cartesian_prod(*axes)


def test_boxes_need_five_points_and_objectness_above_a_twentieth():
    centers = [[10. * number, 0, 0, 1, 1, 1, 0] for number in range(4)]
    boxes = predicted(centers, [[.5, .5]] * 4, [.9, .8, .05, .06])
    points = torch.cat([torch.tensor([[10. * number, 0, .1]]).repeat(count, 1)
                        for number, count in enumerate((4, 5, 9, 9))])
    selected = BoxSelection()(points, boxes, with_yaw=False)
    assert selected.objectness.tolist() == pytest.approx([.8, .06])
    assert selected.bboxes_3d.gravity_center[:, 0].tolist() == [10, 30]
    selected = BoxSelection(min_points=4, objectness_threshold=.06)(points, boxes, with_yaw=False)
    assert selected.bboxes_3d.gravity_center[:, 0].tolist() == [0, 10]


def test_boxes_are_given_by_gravity_center_size_and_yaw():
    """The points lie in the upper half of a box that is rotated by 45 degrees, outside of the box without rotation."""
    points = torch.tensor([[.9, .9, .4]]).repeat(9, 1)
    box = [0., 0, 0, 3, .5, 1, math.pi / 4]
    selected = BoxSelection()(points, predicted([box], [[.75, .25]], [.75]), with_yaw=True)
    assert len(selected) == 1
    torch.testing.assert_close(selected.bboxes_3d.gravity_center, torch.tensor([box[:3]]))
    torch.testing.assert_close(selected.bboxes_3d.tensor[:, 3:], torch.tensor([box[3:]]))
    assert selected.bboxes_3d.with_yaw
    torch.testing.assert_close(selected.class_probabilities, torch.tensor([[.75]]))
    box[6] = 0
    assert len(BoxSelection()(points, predicted([box], [[.75, .25]], [.75]), with_yaw=True)) == 0
    aligned = BoxSelection()(points * 0, predicted([box], [[.75, .25]], [.75]), with_yaw=False)
    assert not aligned.bboxes_3d.with_yaw and aligned.bboxes_3d.dims.tolist() == [[3, .5, 1]]


def test_suppression_compares_the_boxes_around_rotated_boxes():
    """Two crossed planks share a twentieth of their volume, but the squares around them are equal."""
    planks = [[0., 0, 0, 2, .1, 1, math.pi / 4], [0., 0, 0, 2, .1, 1, -math.pi / 4]]
    points = grid((-.7, -.7, -.3), (.7, .7, .3), 15)
    boxes = predicted(planks, [[.9, .1]] * 2, [.8, .9])
    selected = BoxSelection(nms_threshold=.9)(points, boxes, with_yaw=True)
    assert selected.objectness.tolist() == pytest.approx([.9])
    assert selected.bboxes_3d.yaw.tolist() == pytest.approx([-math.pi / 4])


def test_two_planks_side_by_side_are_kept_only_if_the_boxes_around_them_are_apart():
    """Parallel to the axes their boxes are apart; rotated together by 45 degrees the boxes around them overlap."""
    points = grid((-2., -2, -.3), (2., 2, .3), 41)

    def count(yaw):
        shift = torch.tensor([-math.sin(yaw), math.cos(yaw)]) * .3
        planks = [[0., 0, 0, 2, .2, 1, yaw], [*shift.tolist(), 0, 2, .2, 1, yaw]]
        boxes = predicted(planks, [[.9, .1]] * 2, [.8, .9])
        return len(BoxSelection(min_points=1)(points, boxes, with_yaw=True))

    assert count(0.) == 2 and count(math.pi / 4) == 1


@pytest.mark.parametrize('shift, kept', [(.62, 2), (.58, 1)])
def test_boxes_are_duplicates_above_an_iou_of_a_quarter(shift, kept):
    """Unit boxes ``shift`` apart have the IoU (1 - shift) / (1 + shift): 0.235 and 0.266."""
    points = grid((-1., -1, -1), (2., 1, 1))
    boxes = [[0., 0, 0, 1, 1, 1, 0], [shift, 0, 0, 1, 1, 1, 0]]
    assert len(BoxSelection()(points, predicted(boxes, [[.9, .1]] * 2, [.8, .9]), with_yaw=False)) == kept


def test_boxes_of_different_heights_are_compared_in_place():
    """A box of one meter in the middle of one of two meters: half of the volume."""
    points = grid((-.4, -.4, -.4), (.4, .4, .4))
    boxes = [[0., 0, 0, 1, 1, 1, 0], [0., 0, 0, 1, 1, 2, 0]]
    boxes = predicted(boxes, [[.9, .1]] * 2, [.8, .9])
    assert len(BoxSelection(nms_threshold=.49)(points, boxes, with_yaw=False)) == 1
    assert len(BoxSelection(nms_threshold=.51)(points, boxes, with_yaw=False)) == 2


def test_only_boxes_of_the_same_most_probable_class_are_duplicates():
    points = grid((-1., -1, -1), (1., 1, 1))
    boxes = predicted([[0., 0, 0, 1, 1, 1, 0]] * 3, [[.3, .6, .1], [.6, .3, .1], [.35, .4, .25]], [.5, .6, .7])
    selected = BoxSelection()(points, boxes, with_yaw=False)
    assert selected.objectness.tolist() == pytest.approx([.7, .6])
    assert BoxSelection(class_agnostic_nms=True)(points, boxes, False).objectness.tolist() == pytest.approx([.7])
    assert BoxSelection(max_boxes=1)(points, boxes, False).objectness.tolist() == pytest.approx([.7])
    assert len(BoxSelection()(points[:0], boxes, with_yaw=False)) == 0


def selected_boxes():
    selected = InstanceData()
    selected.bboxes_3d = DepthInstance3DBoxes(torch.tensor([[0., 0, 0, 1, 1, 1, 0], [5., 0, 0, 1, 1, 1, 0]]))
    selected.objectness = torch.tensor([.5, 1.])
    selected.class_probabilities = torch.tensor([[.25, .5, .1], [.15, .2, .6]])
    return selected


@pytest.mark.parametrize('most', [None, 3, 1])
def test_detections_are_the_best_pairs_of_box_and_class(most):
    detections = BoxSelection(max_detections=most).to_detections(selected_boxes())
    expected = [(5, 2, .6), (0, 1, .25), (5, 1, .2), (5, 0, .15), (0, 0, .125), (0, 2, .05)][:most]
    found = zip(detections.bboxes_3d.tensor[:, 0].tolist(), detections.labels_3d.tolist(),
                detections.scores_3d.tolist(), strict=True)
    assert [(x, label, pytest.approx(score)) for x, label, score in expected] == list(found)


@pytest.mark.parametrize('option', ['max_boxes', 'max_detections'])
def test_wrong_options_are_named(option):
    assert BoxSelection(**{option: 1})
    with pytest.raises(ValueError, match=f'selection.{option} must be None or >= 1, got 0'):
        BoxSelection(**{option: 0})
