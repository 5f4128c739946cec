"""Suppression of overlapping boxes: by hand, and many classes at once against one class after the other."""
import math

import pytest
import torch
from mmdet3d.structures import DepthInstance3DBoxes

from opendlign_mm.box_ops import nms
from opendlign_mm.box_ops.nms import multiclass_nms_3d, nms_3d


def random_boxes(count, rotated, seed=0):
    generator = torch.Generator().manual_seed(seed)
    boxes = torch.rand(count, 7, generator=generator)
    boxes[:, :3] *= 2
    boxes[:, 3:6] += .5
    boxes[:, 6] = (boxes[:, 6] * 2 - 1) * math.pi if rotated else 0
    return DepthInstance3DBoxes(boxes)


def class_by_class(boxes, scores, iou_threshold, score_threshold=-torch.inf):
    """(score, class, box) of the detections of each class, found by :func:`nms_3d` of its candidates alone."""
    found = []
    for label in range(scores.shape[1]):
        candidates = (scores[:, label] >= score_threshold).nonzero()[:, 0]
        kept = candidates[nms_3d(boxes[candidates], scores[candidates, label], iou_threshold)]
        found += [(scores[index, label].item(), label, index.item()) for index in kept]
    return sorted(found, key=lambda row: (-row[0], row[1:]))


@pytest.mark.parametrize('rotated', [False, True])
@pytest.mark.parametrize('score_threshold', [-torch.inf, .4])
def test_many_classes_are_suppressed_as_each_alone(rotated, score_threshold):
    boxes = random_boxes(40, rotated)
    scores = torch.rand(40, 7, generator=torch.Generator().manual_seed(1)).mul(20).round() / 20  # with equal scores
    expected = class_by_class(boxes, scores, .1, score_threshold)
    assert 10 < len(expected) < scores.numel() / 2
    indices, labels = multiclass_nms_3d(boxes, scores, .1, score_threshold)
    assert indices.dtype == labels.dtype == torch.int64
    assert list(zip(scores[indices, labels].tolist(), labels.tolist(), indices.tolist())) == expected
    indices, labels = multiclass_nms_3d(boxes, scores, .1, score_threshold, max_num=9)
    assert list(zip(labels.tolist(), indices.tolist())) == [row[1:] for row in expected[:9]]


def test_scores_by_hand():
    """Two boxes of IoU 1/3 and a far one: the pair suppresses each other below that threshold, not above it."""
    boxes = DepthInstance3DBoxes(torch.tensor([[0., 0, 0, 2, 1, 1, 0], [1., 0, 0, 2, 1, 1, 0], [9., 0, 0, 1, 1, 1, 0]]))
    scores = torch.tensor([[.9, .2], [.8, .3], [.1, .7]])

    def found(*arguments, **options):
        return [pair for pair in zip(*(values.tolist() for values in multiclass_nms_3d(boxes, *arguments, **options)))]

    assert found(scores, .34) == [(0, 0), (1, 0), (2, 1), (1, 1), (0, 1), (2, 0)]
    assert found(scores, .33) == [(0, 0), (2, 1), (1, 1), (2, 0)]
    assert found(scores, .33, .3) == [(0, 0), (2, 1), (1, 1)]
    assert found(scores, .33, max_num=2) == [(0, 0), (2, 1)]
    scores[0, 0], scores[2, 1] = float('nan'), -torch.inf
    assert found(scores, .33) == [(1, 0), (1, 1), (2, 0)], 'what is no candidate suppresses nothing'


def test_an_iou_of_exactly_the_threshold_is_kept():
    """The second box is half of the first: IoU 1/2. The best score comes first, equal ones in the given order."""
    boxes = DepthInstance3DBoxes(torch.tensor([[0., 0, 0, 1, 1, 1, 0], [0., 0, 0, 2, 1, 1, 0], [9., 0, 0, 1, 1, 1, 0]]))
    scores = torch.tensor([.5, .9, .5])
    assert nms_3d(boxes, scores, .5).tolist() == [1, 0, 2]
    assert nms_3d(boxes, scores, .49).tolist() == [1, 2]
    assert nms_3d(boxes, scores, .49, labels=torch.tensor([3, 4, 3])).tolist() == [1, 0, 2]
    assert nms_3d(boxes, scores, .5, max_num=2).tolist() == [1, 0]
    for threshold, expected in ((.5, [1, 0, 2]), (.49, [1, 2])):
        indices, labels = multiclass_nms_3d(boxes, scores[:, None], threshold)
        assert indices.tolist() == expected and labels.tolist() == [0] * len(expected)
    indices, _ = multiclass_nms_3d(boxes, scores[:, None], .5, score_threshold=.5)
    assert indices.tolist() == [1, 0, 2], 'a score of exactly the threshold is a candidate'


def test_a_suppressed_box_suppresses_no_other():
    """A row of unit cubes, each half over the next (IoU 1/3): the first and the third stay."""
    boxes = DepthInstance3DBoxes(torch.tensor([[x, 0, 0, 1, 1, 1, 0] for x in (0., .5, 1., 1.5)]))
    scores = torch.tensor([.9, .8, .7, .6])
    assert nms_3d(boxes, scores, .3).tolist() == [0, 2]
    assert multiclass_nms_3d(boxes, scores[:, None], .3)[0].tolist() == [0, 2]
    assert nms_3d(boxes, -scores, .3).tolist() == [3, 1]


def test_boxes_are_compared_with_their_yaw():
    """Two long boxes across each other: IoU 1/9 as they are, 1 without their yaw."""
    boxes = DepthInstance3DBoxes(torch.tensor([[0., 0, 0, 5, 1, 1, 0], [0., 0, 0, 5, 1, 1, math.pi / 2]]))
    assert len(nms_3d(boxes, torch.tensor([.9, .8]), .2)) == 2
    assert len(nms_3d(boxes, torch.tensor([.9, .8]), .1)) == 1


def test_as_many_scores_as_boxes():
    with pytest.raises(ValueError, match='3 boxes but 2 scores'):
        nms_3d(random_boxes(3, False), torch.ones(2), .5)
    assert nms_3d(random_boxes(0, False), torch.ones(0), .5).tolist() == []


def test_nothing_to_suppress():
    boxes = random_boxes(3, False)
    for kept in (multiclass_nms_3d(boxes[:0], torch.zeros(0, 4), .5), multiclass_nms_3d(boxes, torch.zeros(3, 0), .5),
                 multiclass_nms_3d(boxes, torch.zeros(3, 4), .5, score_threshold=.1)):
        assert [len(values) for values in kept] == [0, 0]
    with pytest.raises(ValueError, match=r'\(M, C\) with M = 3 boxes, got \(2, 4\)'):
        multiclass_nms_3d(boxes, torch.zeros(2, 4), .5)


def test_one_overlap_matrix_serves_all_classes(monkeypatch):
    calls = []
    monkeypatch.setattr(nms, 'box_overlaps', lambda first, second: calls.append(len(first)) or torch.eye(len(first)))
    multiclass_nms_3d(random_boxes(30, True), torch.rand(30, 50), .5)
    assert calls == [30]
