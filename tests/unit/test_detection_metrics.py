"""Localization and recognition, measured apart from each other."""
import numpy as np
import pytest
import torch
from mmdet3d.registry import METRICS
from mmdet3d.structures import DepthInstance3DBoxes
from mmengine.registry import init_default_scope

CLASSES = ('chair', 'table', 'sofa')
TRUTH = [[0., 0, 0, 1, 1, 1], [3, 0, 0, 1, 1, 1], [6, 0, 0, 1, 1, 1]]


def boxes(rows):
    return DepthInstance3DBoxes(torch.tensor(rows).reshape(-1, 6), box_dim=6, with_yaw=False)


def scene(proposed, objectness, probabilities, truth=TRUTH, labels=(0, 1, 2)):
    proposals = dict(bboxes_3d=boxes(proposed), objectness=torch.tensor(objectness),
                     class_probabilities=torch.tensor(probabilities).reshape(-1, 3))
    nothing = dict(bboxes_3d=boxes([]), scores_3d=torch.zeros(0), labels_3d=torch.zeros(0, dtype=torch.int64))
    return dict(proposals_3d=proposals, pred_instances_3d=nothing,
                eval_ann_info=dict(gt_bboxes_3d=boxes(truth), gt_labels_3d=np.array(labels, dtype=np.int64)))


def evaluate(name, scenes, **options):
    init_default_scope('mmdet3d')
    metric = METRICS.build(dict(type=name, **options))
    metric.dataset_meta = dict(classes=CLASSES, box_type_3d='Depth')
    metric.process({}, scenes)
    return metric.evaluate(len(scenes))


def shifted(box, by):
    return [box[0] + by, *box[1:]]


def test_true_boxes_are_perfect_localization():
    scenes = [scene(TRUTH, [1.] * 3, [[1., 0, 0]] * 3)] * 2
    results = evaluate('ClassAgnosticAP', scenes)
    assert results['class_agnostic/AP_0.25'] == results['class_agnostic/AP_0.50'] == pytest.approx(1)


def test_average_precision_without_classes():
    # By objectness: right, wrong, right at IoU 0.43 only; the third object is not found.
    proposed = [TRUTH[0], [20., 0, 0, 1, 1, 1], shifted(TRUTH[1], .4)]
    results = evaluate('ClassAgnosticAP', [scene(proposed, [.9, .8, .7], [[1., 0, 0]] * 3)])
    assert results['class_agnostic/AP_0.25'] == pytest.approx(1 / 3 + 2 / 3 / 3)
    assert results['class_agnostic/AP_0.50'] == pytest.approx(1 / 3)


def test_accuracy_is_that_of_the_objects_found():
    proposed = [TRUTH[0], shifted(TRUTH[1], .4), shifted(TRUTH[0], .6)]
    probabilities = [[.6, .3, .1], [.5, .4, .1], [.1, .8, .1]]
    results = evaluate('BoxClassificationAccuracy', [scene(proposed, [1.] * 3, probabilities)], topk=(1, 2))
    assert results['recognition/found_0.25'] == 2 and results['recognition/found_0.50'] == 1
    assert results['recognition/top1_0.25'] == .5 and results['recognition/top2_0.25'] == 1.
    assert results['recognition/top1_0.50'] == 1.


def test_objects_outside_the_vocabulary_do_not_count():
    results = evaluate('BoxClassificationAccuracy', [scene(TRUTH, [1.] * 3, [[1., 0, 0]] * 3, labels=(0, -1, -1))])
    assert results['recognition/found_0.25'] == 1 and results['recognition/top1_0.25'] == 1.


def test_nothing_proposed_and_nothing_annotated():
    nothing, empty_room = scene([], [], []), scene(TRUTH, [1.] * 3, [[1., 0, 0]] * 3, truth=[], labels=[])
    for scenes in ([nothing], [empty_room], [nothing, empty_room]):
        assert evaluate('ClassAgnosticAP', scenes)['class_agnostic/AP_0.25'] == 0.
        assert evaluate('BoxClassificationAccuracy', scenes)['recognition/top1_0.25'] == 0.
        assert evaluate('ProposalRecall', scenes, max_proposals=(16, 256))['proposals/recall_0.25@256'] == 0.
    assert evaluate('OpenVocabIndoorMetric', [nothing])['mAP_0.25'] == 0.


@pytest.mark.parametrize('name', ['ClassAgnosticAP', 'BoxClassificationAccuracy'])
def test_what_is_needed_is_named(name):
    with pytest.raises(ValueError, match='eval_ann_info'):
        evaluate(name, [dict(pred_instances_3d={})])
    with pytest.raises(ValueError, match='topk'):
        METRICS.build(dict(type='BoxClassificationAccuracy', topk=()))
