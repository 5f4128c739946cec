import numpy as np
import pytest
import torch
from mmdet3d.registry import HOOKS, METRICS, MODELS
from mmdet3d.structures import DepthInstance3DBoxes, Det3DDataSample
from mmengine.runner import load_state_dict
from mmengine.structures import InstanceData

import opendlign_mm.evaluation.box_metrics  # noqa: F401
from helpers.scenes import CLASSES, furnished_room, tiny_classifier_config, tiny_detector
from opendlign_mm.box_ops import nms
from opendlign_mm.box_ops.iou import box_overlaps
from opendlign_mm.datasets.class_names import vocabulary_of
from opendlign_mm.detection import OpenVocabBBoxHead, box_views
from opendlign_mm.engine.hooks import VocabularyFromDatasetHook


def annotated(boxes, labels=None):
    sample = Det3DDataSample()
    sample.eval_ann_info = dict(
        gt_bboxes_3d=DepthInstance3DBoxes(boxes, box_dim=6, with_yaw=False, origin=(0.5, 0.5, 0.5)),
        gt_labels_3d=np.zeros(len(boxes), dtype=np.int64) if labels is None else np.array(labels))
    return sample


def proposals_of(boxes, objectness=None):
    proposals = InstanceData()
    proposals.bboxes_3d = DepthInstance3DBoxes(boxes)
    proposals.objectness = torch.ones(len(boxes)) if objectness is None else torch.tensor(objectness)
    return proposals


class FixedProposals(torch.nn.Module):
    """Proposal source that returns the same boxes for every scene."""

    def __init__(self, boxes):
        super().__init__()
        self.boxes = boxes

    def forward(self, points, data_sample=None):
        return proposals_of(self.boxes.to(points.device))


# --- head -----------------------------------------------------------------------------------------------------------

def test_probabilities_are_the_softmax_of_logits():
    head = OpenVocabBBoxHead(temperature=0.01)
    cosines = torch.tensor([[0.02, 0.01, 0.01], [-0.01, 0., 0.01]])
    # exp(2), exp(1), exp(1) and exp(-1), exp(0), exp(1) over their sums
    expected = torch.tensor([[0.57612, 0.21194, 0.21194], [0.09003, 0.24473, 0.66524]])
    torch.testing.assert_close(head.probabilities(cosines), expected, atol=1e-5, rtol=0)
    torch.testing.assert_close(head.probabilities(cosines - 3), expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize('aggregation, logit_scale', [('softmax_sum', None), ('softmax_sum', 'clip'), ('sum', None)])
def test_class_probabilities_follow_the_aggregation_of_scores(aggregation, logit_scale):
    detector = tiny_detector('GroundTruthProposals')
    model, temperature = detector.classifier, detector.bbox_head.temperature
    model.zero_shot_head.aggregation, model.zero_shot_head.logit_scale = aggregation, logit_scale
    views = torch.rand(2, 4, 32, 32, generator=torch.Generator().manual_seed(0))
    mean_scores = model.zero_shot(views).double() / 4
    logits = mean_scores if aggregation == 'sum' else mean_scores.log()
    expected = (logits / temperature).softmax(dim=1).float()
    torch.testing.assert_close(detector.class_probabilities(views), expected, atol=1e-4, rtol=0)


def test_head_scores_labels_and_suppression():
    boxes = torch.tensor([[0., 0, 0, 1, 1, 1, 0], [0.1, 0, 0, 1, 1, 1, 0], [5, 0, 0, 1, 1, 1, 0]])
    proposals = proposals_of(boxes, [0.5, 1.0, 0.25])
    probabilities = torch.tensor([[0.9, 0.1], [0.4, 0.6], [0.2, 0.8]])
    best = OpenVocabBBoxHead(labels_per_box=1).predict(proposals, probabilities)
    assert best.labels_3d.tolist() == [1, 0, 1]  # the pile keeps one box of each class
    assert best.scores_3d.tolist() == pytest.approx([0.6, 0.45, 0.2])
    agnostic = OpenVocabBBoxHead(labels_per_box=1, class_agnostic_nms=True).predict(proposals, probabilities)
    assert agnostic.scores_3d.tolist() == pytest.approx([0.6, 0.2])
    every = OpenVocabBBoxHead().predict(proposals, probabilities)
    assert sorted(zip(every.labels_3d.tolist(), every.scores_3d.tolist())) == [
        (0, pytest.approx(0.05)), (0, pytest.approx(0.45)), (1, pytest.approx(0.2)), (1, pytest.approx(0.6))]
    assert (every.scores_3d.diff() <= 0).all()
    assert len(OpenVocabBBoxHead(score_threshold=0.3).predict(proposals, probabilities)) == 2
    for most in (1, 3):
        best = OpenVocabBBoxHead(max_detections=most).predict(proposals, probabilities)
        assert best.scores_3d.tolist() == pytest.approx([0.6, 0.45, 0.2][:most])
        assert best.labels_3d.tolist() == [1, 0, 1][:most]
    powers = OpenVocabBBoxHead(labels_per_box=1, objectness_power=0, probability_power=2)
    powers = powers.predict(proposals, probabilities)
    assert powers.scores_3d.tolist() == pytest.approx([0.81, 0.64, 0.36])


@pytest.mark.parametrize('agnostic', [False, True])
def test_head_computes_one_overlap_matrix_of_the_boxes(monkeypatch, agnostic):
    """Not one for each class, nor one of all pairs of boxes and classes; the detections are the same."""
    generator = torch.Generator().manual_seed(0)
    boxes = torch.rand(30, 7, generator=generator)
    boxes[:, :3] *= 2
    proposals = proposals_of(boxes, torch.rand(30, generator=generator).tolist())
    probabilities = (torch.rand(30, 9, generator=generator) * 5).softmax(dim=1)
    scores = (proposals.objectness[:, None] * probabilities).flatten()
    pairs = DepthInstance3DBoxes(boxes.repeat_interleave(9, dim=0))
    expected = nms.nms_3d(pairs, scores, .25, None if agnostic else torch.arange(9).repeat(30))[:50]
    calls = []
    monkeypatch.setattr(nms, 'box_overlaps',
                        lambda first, second: calls.append((len(first), len(second))) or box_overlaps(first, second))
    found = OpenVocabBBoxHead(class_agnostic_nms=agnostic, max_detections=50).predict(proposals, probabilities)
    assert calls == [(30, 30)]
    assert torch.equal(found.scores_3d, scores[expected]) and torch.equal(found.labels_3d, expected % 9)
    assert torch.equal(found.bboxes_3d.tensor, boxes[expected // 9])


@pytest.mark.parametrize('wrong', [dict(temperature=0), dict(objectness_power=-1), dict(labels_per_box=0),
                                   dict(max_detections=0)])
def test_head_refuses_wrong_arguments(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        OpenVocabBBoxHead(**wrong)


# --- detector -------------------------------------------------------------------------------------------------------

def test_predict_with_ground_truth_boxes_gives_each_object_the_class_of_its_points():
    points, truth = furnished_room()
    detector = tiny_detector('GroundTruthProposals', bbox_head=dict(type='OpenVocabBBoxHead', labels_per_box=1))
    sample, = detector.predict(dict(points=[points]), [annotated(truth)])
    found = sample.pred_instances_3d
    assert isinstance(found.bboxes_3d, DepthInstance3DBoxes) and len(found) == 4
    assert found.scores_3d.shape == found.labels_3d.shape == (4, ) and found.labels_3d.dtype == torch.int64
    assert torch.isfinite(found.scores_3d).all()
    # The same by hand: crop, project, classify one object at a time.
    order = box_overlaps(found.bboxes_3d, annotated(truth).eval_ann_info['gt_bboxes_3d']).argmax(dim=1)
    for index, box in enumerate(truth[order]):
        inside = (points[:, :3] - box[:3]).abs() <= box[3:] / 2
        views = detector.projection([points[inside.all(dim=1), :3]])
        scores = detector.classifier.zero_shot(views)
        assert scores.argmax() == found.labels_3d[index]


@pytest.mark.parametrize('options', [{}, dict(views='both', crop_scales=(1., 1.3)), dict(views='color')])
def test_parts_of_the_boxes_have_the_results_of_all_at_once(options, monkeypatch):
    """Views of the next part are made in a thread; by hand: all views, then all features."""
    points, truth = furnished_room()
    detector = tiny_detector('GroundTruthProposals', **options)
    expected = detector.predict(dict(points=[points]), [annotated(truth)])[0].proposals_3d
    monkeypatch.setattr(detector, 'proposals', FixedProposals(annotated(truth).eval_ann_info['gt_bboxes_3d'].tensor))
    whole = detector.encode_scene(points)
    monkeypatch.setattr(box_views, 'BOXES_AT_A_TIME', 1)
    found = detector.predict(dict(points=[points]), [annotated(truth)])[0].proposals_3d
    torch.testing.assert_close(found.class_probabilities, expected.class_probabilities)
    assert torch.equal(found.bboxes_3d.tensor, expected.bboxes_3d.tensor)
    parts = detector.encode_scene(points)
    assert set(parts.keys()) == set(whole.keys()) and torch.equal(parts.depth_views, whole.depth_views)
    for name in {'view_features', 'color_features'} & set(whole.keys()):
        torch.testing.assert_close(parts.get(name), whole.get(name))
    _, crops = detector.crop_proposals(points, whole)
    torch.testing.assert_close(whole.depth_views, torch.cat([detector.projection([crop[:, :3]]) for crop in crops]))
    torch.testing.assert_close(detector.classify_encoded(parts), expected.class_probabilities)


def test_a_projection_that_fails_in_a_later_part_is_the_error_of_the_scene(monkeypatch):
    points, truth = furnished_room()
    detector = tiny_detector('GroundTruthProposals')
    monkeypatch.setattr(box_views, 'BOXES_AT_A_TIME', 1)
    project, calls = detector.projection, []

    def fail_at_the_third(clouds):
        calls.append(len(clouds))
        if len(calls) == 3:
            raise ValueError('a view cannot be made')
        return project(clouds)

    detector.projection = fail_at_the_third
    with pytest.raises(ValueError, match='a view cannot be made'):
        detector.predict(dict(points=[points]), [annotated(truth)])
    detector.projection = project
    assert len(detector.predict(dict(points=[points]), [annotated(truth)])[0].proposals_3d) == 4


def test_predict_with_clusters_and_several_scenes():
    rooms = [furnished_room(seed=seed)[0] for seed in (0, 1)]
    detector = tiny_detector(dict(type='ClusterProposals', max_proposals=8))
    together = detector(dict(points=rooms), [Det3DDataSample(), Det3DDataSample()], mode='predict')
    alone = detector(dict(points=rooms[1:]), [Det3DDataSample()], mode='predict')[0]
    assert len(together) == 2
    for sample in together:
        assert len(sample.proposals_3d) <= 8 and len(sample.pred_instances_3d) > 0
    torch.testing.assert_close(together[1].pred_instances_3d.scores_3d, alone.pred_instances_3d.scores_3d)
    assert torch.equal(together[1].pred_instances_3d.labels_3d, alone.pred_instances_3d.labels_3d)
    proposals, probabilities = detector(dict(points=rooms[:1]), mode='tensor')[0]
    assert probabilities.shape == (len(proposals), len(CLASSES))
    torch.testing.assert_close(probabilities.sum(dim=1), torch.ones(len(proposals)))


def test_boxes_and_views_are_encoded_together():
    points, truth = furnished_room()
    detector = tiny_detector('GroundTruthProposals')
    batches = []
    detector.classifier.backbone.register_forward_pre_hook(lambda module, args: batches.append(len(args[0])))
    detector.predict(dict(points=[points]), [annotated(truth)])
    assert batches == [len(truth) * detector.projection.num_views]


def test_rotated_boxes_are_seen_from_their_own_sides():
    """A rotated scene with rotated boxes gives the same classes and scores."""
    angle = 0.4
    straight, truth = furnished_room()
    rotated_points, _ = furnished_room(turn=angle)
    boxes = torch.cat([truth, torch.zeros(4, 1)], dim=1)
    boxes[:, 2] -= truth[:, 5] / 2
    rotated = DepthInstance3DBoxes(boxes.clone())
    rotated.rotate(angle)
    results = [
        tiny_detector(FixedProposals(tensor)).predict(dict(points=[points]))[0].pred_instances_3d
        for points, tensor in ((straight, boxes), (rotated_points, rotated.tensor))
    ]
    assert torch.equal(results[0].labels_3d, results[1].labels_3d)
    torch.testing.assert_close(results[0].scores_3d, results[1].scores_3d, atol=5e-3, rtol=0)


def test_few_point_boxes_are_dropped_and_counted():
    points, truth = furnished_room()
    empty = torch.tensor([[20., 20., 1., 1., 1., 1.]])
    sample, = tiny_detector('GroundTruthProposals').predict(
        dict(points=[points]), [annotated(torch.cat([truth, empty]))])
    assert len(sample.proposals_3d) == 4 and sample.num_dropped_proposals == 1


def test_no_proposals_is_an_empty_result():
    points, _ = furnished_room()
    for source in (FixedProposals(torch.zeros(0, 7)), FixedProposals(torch.tensor([[50., 0, 0, 1, 1, 1, 0]]))):
        sample, = tiny_detector(source).predict(dict(points=[points]))
        found = sample.pred_instances_3d
        assert found.bboxes_3d.tensor.shape == (0, 7) and found.scores_3d.shape == (0, )
        assert found.labels_3d.dtype == torch.int64 and len(found) == 0


def test_one_point_scene_is_an_empty_result():
    sample, = tiny_detector().predict(dict(points=[torch.zeros(1, 6)]))
    assert len(sample.pred_instances_3d) == 0


def test_vocabulary_at_run_time():
    points, truth = furnished_room()
    detector = tiny_detector('GroundTruthProposals')
    detector.set_vocabulary(['sofa', 'bathtub'])
    sample, = detector.predict(dict(points=[points]), [annotated(truth)])
    assert detector.class_names == sample.class_names == ('sofa', 'bathtub')
    assert set(sample.pred_instances_3d.labels_3d.tolist()) <= {0, 1}
    with pytest.raises(ValueError, match='empty'):
        detector.set_vocabulary([])
    with pytest.raises(ValueError, match='sofa'):
        detector.set_vocabulary(['sofa', 'sofa'])


def test_wrong_use_is_one_clear_error():
    points, truth = furnished_room()
    detector = tiny_detector('GroundTruthProposals')
    with pytest.raises(RuntimeError, match='nothing to train'):
        detector(dict(points=[points]), [annotated(truth)], mode='loss')
    with pytest.raises(ValueError, match="no 'points'"):
        detector.predict(dict(voxels=[points]), [annotated(truth)])
    points[3, 0] = float('nan')
    sample = annotated(truth)
    sample.set_metainfo(dict(lidar_path='points/room.bin'))
    with pytest.raises(ValueError, match=r'points/room.bin: 1 of 11800 points have non-finite'):
        detector.predict(dict(points=[points]), [sample])
    with pytest.raises(ValueError, match='no points'):
        detector.predict(dict(points=[points[:0]]), [annotated(truth)])
    config = tiny_classifier_config()
    config['zero_shot_head'].pop('class_names')
    detector.classifier = MODELS.build(config)
    with pytest.raises(RuntimeError, match='vocabulary'):
        detector.predict(dict(points=[furnished_room()[0]]), [annotated(truth)])
    with pytest.raises(ValueError, match='zero_shot_head'):
        MODELS.build(dict(type='OpenVocabDetector3D', proposals=dict(type='ClusterProposals'),
                          classifier=dict(config, zero_shot_head=None)))


@pytest.mark.parametrize('load', [lambda model, state: model.load_state_dict(state),
                                  lambda model, state: load_state_dict(model, state, strict=True)],
                         ids=['torch', 'mmengine'])
def test_checkpoint_of_the_classifier_is_one_of_the_detector(load):
    detector = tiny_detector('GroundTruthProposals')
    torch.manual_seed(0)
    aligned = MODELS.build(dict(tiny_classifier_config(), alignment_head=dict(
        type='DepthImageContrastiveHead', logit_scale='learnable')))
    aligned.backbone.load_state_dict(detector.classifier.backbone.state_dict())
    with torch.no_grad():
        for parameter in aligned.backbone.parameters():
            if parameter.requires_grad:
                parameter.add_(0.1)
    views = torch.rand(2, 2, 32, 32)
    before = detector.classifier.zero_shot(views)
    load(detector, {key: value.cpu() for key, value in aligned.state_dict().items()})
    torch.testing.assert_close(detector.classifier.zero_shot(views), aligned.zero_shot(views))
    assert not torch.allclose(detector.classifier.zero_shot(views), before)
    load(detector, detector.state_dict())  # and its own


@pytest.mark.skipif(not torch.cuda.is_available(), reason='no CUDA device')
def test_cuda_equals_cpu():
    points, truth = furnished_room()
    detector = tiny_detector('GroundTruthProposals')
    on_cpu, = detector.predict(dict(points=[points]), [annotated(truth)])
    on_cuda, = detector.cuda().predict(dict(points=[points.cuda()]), [annotated(truth)])
    assert on_cuda.pred_instances_3d.scores_3d.is_cuda and on_cuda.pred_instances_3d.bboxes_3d.tensor.is_cuda
    torch.testing.assert_close(on_cuda.pred_instances_3d.scores_3d.cpu(), on_cpu.pred_instances_3d.scores_3d,
                               atol=2e-2, rtol=0)


# --- vocabulary and metric ------------------------------------------------------------------------------------------

def test_vocabulary_follows_the_dataset():

    class Namespace:
        pass

    runner = Namespace()
    runner.model, runner.test_dataloader, runner.test_dataloader_dataset = tiny_detector(), Namespace(), None
    runner.test_dataloader.dataset = Namespace()
    runner.test_dataloader.dataset.metainfo = dict(classes=('bed', 'showercurtrain'))
    runner.test_evaluator = Namespace()
    runner.test_evaluator.dataset_meta = runner.test_dataloader.dataset.metainfo
    hook = HOOKS.build(dict(type='VocabularyFromDatasetHook'))
    assert isinstance(hook, VocabularyFromDatasetHook)
    hook.before_test_epoch(runner)
    assert runner.model.class_names == ('bed', 'shower curtain')
    assert runner.test_evaluator.dataset_meta == dict(classes=('bed', 'showercurtrain'),
                                                      vocabulary=('bed', 'shower curtain'))
    assert vocabulary_of(['bed', 'desk'], dict(desk='writing desk')) == ('bed', 'writing desk')


def test_indoor_metric_over_the_annotated_classes():
    """Predictions of a class without annotations would make IndoorMetric's mean NaN."""
    _, truth = furnished_room()
    annotations = annotated(truth, [0, 0, 2, -1]).eval_ann_info
    boxes = annotations['gt_bboxes_3d'][[0, 1, 2, 3]]
    predictions = dict(bboxes_3d=boxes, labels_3d=torch.tensor([0, 1, 2, 2]), scores_3d=torch.tensor([.9, .8, .7, .6]))
    sample = dict(eval_ann_info=annotations, pred_instances_3d=predictions)

    def evaluate(name):
        metric = METRICS.build(dict(type=name))
        metric.dataset_meta = dict(classes=CLASSES, box_type_3d='Depth')
        metric.process({}, [sample])
        return metric.evaluate(1)

    results = evaluate('OpenVocabIndoorMetric')
    assert results['chair_AP_0.25'] == pytest.approx(0.5) and results['cabinet_AP_0.25'] == pytest.approx(1.)
    assert results['mAP_0.25'] == pytest.approx(0.75) and 'table_AP_0.25' not in results
    # All classes annotated: the same numbers as IndoorMetric.
    annotations['gt_labels_3d'] = np.array([0, 1, 2, 2])
    assert evaluate('OpenVocabIndoorMetric') == evaluate('IndoorMetric')
    annotations['gt_labels_3d'] = np.full(4, -1)
    with pytest.raises(ValueError, match='nothing to evaluate'):
        evaluate('OpenVocabIndoorMetric')
