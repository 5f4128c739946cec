"""Localization and recognition, measured apart from each other."""
import numpy as np
import pytest
import torch
from mmdet3d.registry import METRICS
from mmdet3d.structures import DepthInstance3DBoxes
from mmengine.registry import init_default_scope

import opendlign_mm.evaluation.box_metrics  # noqa: F401

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


# Boxes of 1 m: half and a quarter of a box have exactly these IoUs, which no float rounds.
CUBE, HALF, QUARTER = [0., 0, 0, 1, 1, 1], [0., 0, 0, 1, 1, .5], [0., 0, 0, 1, 1, .25]


@pytest.mark.parametrize('part, below', [(HALF, .49), (QUARTER, .24)])
def test_an_iou_equal_to_the_threshold_does_not_count(part, below):
    threshold = part[5]
    one = scene([part], [1.], [[1., 0, 0]], truth=[CUBE], labels=(0, ))
    for thresholds, expected in (((threshold, ), 0), ((below, ), 1)):
        name = f'{thresholds[0]:.2f}'
        assert evaluate('ProposalRecall', [one], iou_thr=thresholds)[f'proposals/recall_{name}'] == expected
        assert evaluate('BoxClassificationAccuracy', [one], iou_thr=thresholds)[f'recognition/found_{name}'] == expected
        assert evaluate('ClassAgnosticAP', [one], iou_thr=thresholds)[f'class_agnostic/AP_{name}'] == expected


def test_recall_of_the_best_proposals_by_objectness():
    # Best first: TRUTH[1], nothing, nothing, TRUTH[0]; TRUTH[2] is found by none.
    proposed = [TRUTH[0], TRUTH[1], [20., 0, 0, 1, 1, 1], [30., 0, 0, 1, 1, 1]]
    one = scene(proposed, [.1, .9, .5, .2], [[1., 0, 0]] * 4)
    other = scene([], [], [], truth=[CUBE], labels=(0, ))
    one['num_dropped_proposals'] = 4
    results = evaluate('ProposalRecall', [one, other], max_proposals=(1, 3, 4), iou_thr=(0., .5))
    assert [results[f'proposals/recall_0.50@{count}'] for count in (1, 3, 4)] == [.25, .25, .5]
    one['proposals_3d']['objectness'] = torch.tensor([.8, .9, .5, .2])
    results = evaluate('ProposalRecall', [one, other], max_proposals=(1, 2, 3), iou_thr=(0., .5))
    assert [results[f'proposals/recall_0.50@{count}'] for count in (1, 2, 3)] == [.25, .5, .5]
    assert results['proposals/recall_0.00'] == results['proposals/recall_0.50'] == .5
    assert results['proposals/per_scene'] == 2
    assert results['proposals/dropped_per_scene'] == 4, 'the mean over the scenes that count them'
    assert 'proposals/dropped_per_scene' not in evaluate('ProposalRecall', [other])


def test_equal_objectness_keeps_the_order_of_the_proposals():
    # More than a sort that is not stable leaves in order.
    far = [[20. + place, 0, 0, 1, 1, 1] for place in range(999)]
    one = scene([TRUTH[0], *far, TRUTH[1]], [.5] * 1001, [[1., 0, 0]] * 1001)
    results = evaluate('ProposalRecall', [one], max_proposals=(1, 1000))
    assert results['proposals/recall_0.50@1'] == results['proposals/recall_0.50@1000'] == pytest.approx(1 / 3)


def test_a_class_as_probable_as_the_true_one_is_no_mistake():
    one = scene(TRUTH[:2], [1.] * 2, [[.5, .5, 0], [.5, .4, .1]], truth=TRUTH[:2], labels=(1, 1))
    results = evaluate('BoxClassificationAccuracy', [one], topk=(1, 2, 3), iou_thr=(.25, ))
    assert [results[f'recognition/top{k}_0.25'] for k in (1, 2, 3)] == [.5, 1., 1.]


def test_an_object_takes_the_proposal_that_overlaps_it_most():
    proposed = [QUARTER, HALF, [0., 0, .5, 1, 1, .4]]
    one = scene(proposed, [1., .1, 1.], [[1., 0, 0], [0, 1, 0], [1, 0, 0]], truth=[CUBE], labels=(1, ))
    results = evaluate('BoxClassificationAccuracy', [one], iou_thr=(.45, ), topk=(1, ))
    assert results == {'recognition/found_0.45': 1, 'recognition/top1_0.45': 1.}


def tables(monkeypatch):
    """What metrics print, as rows of cells."""
    rows = []

    def keep(text, **_):
        rows.extend([cell.strip() for cell in line.strip('|').split('|')] for line in text.splitlines() if '|' in line)

    monkeypatch.setattr('opendlign_mm.evaluation.box_metrics.print_log', keep)
    return rows


def test_table_of_the_classes_found(monkeypatch):
    rows = tables(monkeypatch)
    # A chair that is right, a chair that is wrong, a sofa that is not found; the sofa's class is right.
    proposed, probabilities = [TRUTH[0], TRUTH[1], shifted(TRUTH[2], .9)], [[1., 0, 0], [.1, .9, 0], [0, 0, 1]]
    evaluate('BoxClassificationAccuracy', [scene(proposed, [1.] * 3, probabilities, labels=(0, 0, 2))], topk=(1, 2))
    assert rows == [['class', 'top-1, IoU 0.25', 'top-2, IoU 0.25', 'top-1, IoU 0.50', 'top-2, IoU 0.50'],
                    ['chair', '1 of 2', '2 of 2', '1 of 2', '2 of 2'], ['sofa', '0 of 0', '0 of 0', '0 of 0', '0 of 0'],
                    ['all', '1 of 2', '2 of 2', '1 of 2', '2 of 2']]


def test_labels_without_names_are_numbers_in_the_table(monkeypatch):
    rows = tables(monkeypatch)
    init_default_scope('mmdet3d')
    metric = METRICS.build(dict(type='BoxClassificationAccuracy'))
    metric.dataset_meta = {}
    metric.process({}, [scene(TRUTH, [1.] * 3, [[1., 0, 0]] * 3)])
    metric.evaluate(1)
    assert [row[0] for row in rows] == ['class', '0', '1', '2', 'all']


def test_table_of_the_recall(monkeypatch):
    rows = tables(monkeypatch)
    evaluate('ProposalRecall', [scene(TRUTH[:2], [.9, .8], [[1., 0, 0]] * 2)], max_proposals=(1, ))
    assert rows == [['proposals', 'recall_0.25', 'recall_0.50'], ['1', '0.3333', '0.3333'],
                    ['all', '0.6667', '0.6667']]


@pytest.mark.parametrize('options', [dict(iou_thr=(1., )), dict(iou_thr=(-.1, )), dict(iou_thr=(.5, 1.2))])
@pytest.mark.parametrize('name', ['ProposalRecall', 'BoxClassificationAccuracy'])
def test_thresholds_out_of_range_are_refused(name, options):
    with pytest.raises(ValueError, match=r'iou_thr must lie in \[0, 1\)'):
        METRICS.build(dict(type=name, **options))


def test_defaults():
    one = scene(TRUTH, [1.] * 3, np.eye(3, dtype=np.float32).tolist())
    assert set(evaluate('BoxClassificationAccuracy', [one])) == {
        f'recognition/{name}_{iou}' for iou in ('0.25', '0.50') for name in ('found', 'top1', 'top5')}
    assert set(evaluate('ProposalRecall', [one])) == {
        'proposals/recall_0.25', 'proposals/recall_0.50', 'proposals/per_scene'}
    assert set(evaluate('ClassAgnosticAP', [one])) == {'class_agnostic/AP_0.25', 'class_agnostic/AP_0.50'}


def test_numbers_below_one_are_refused():
    for options in (dict(type='ProposalRecall', max_proposals=(5, 0)),
                    dict(type='BoxClassificationAccuracy', topk=(0, 5))):
        with pytest.raises(ValueError, match='>= 1'):
            METRICS.build(options)
    METRICS.build(dict(type='ProposalRecall', max_proposals=(1, ), iou_thr=(0., .99)))
    METRICS.build(dict(type='BoxClassificationAccuracy', topk=(1, ), iou_thr=(0., .99)))


@pytest.mark.parametrize('name, result', [('ProposalRecall', 'mine/recall_0.25'), ('ClassAgnosticAP', 'mine/AP_0.25'),
                                          ('BoxClassificationAccuracy', 'mine/top1_0.25')])
def test_other_field_and_other_prefix(name, result):
    one = scene(TRUTH, [1.] * 3, np.eye(3, dtype=np.float32).tolist())
    one['others'] = one.pop('proposals_3d')
    assert evaluate(name, [one], key='others', prefix='mine')[result] == pytest.approx(1)
    for missing in ('others', 'eval_ann_info'):
        with pytest.raises(ValueError, match="'others'.*'eval_ann_info'"):
            evaluate(name, [{key: value for key, value in one.items() if key != missing}], key='others')
    with pytest.raises(ValueError, match="'others'.*'eval_ann_info'"):
        evaluate(name, [dict(one, eval_ann_info=None)], key='others')


def test_class_agnostic_precision_leaves_the_classes_of_the_dataset():
    init_default_scope('mmdet3d')
    metric = METRICS.build(dict(type='ClassAgnosticAP', iou_thr=(.1, .3)))
    metric.dataset_meta = meta = dict(classes=CLASSES, box_type_3d='Depth')
    metric.process({}, [scene(TRUTH, [1.] * 3, [[1., 0, 0]] * 3)])
    assert metric.evaluate(1) == pytest.approx({'class_agnostic/AP_0.10': 1, 'class_agnostic/AP_0.30': 1})
    assert metric.dataset_meta is meta
    metric.process({}, [scene(TRUTH, [1.] * 3, [[1., 0, 0]] * 3, truth=[], labels=())])
    assert metric.evaluate(1) == {'class_agnostic/AP_0.10': 0., 'class_agnostic/AP_0.30': 0.}
