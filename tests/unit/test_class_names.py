"""Predictions are matched with the classes of a dataset by name: other orders, other words, other classes."""
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmdet3d.registry import HOOKS, METRICS
from mmdet3d.structures import DepthInstance3DBoxes
from mmengine.registry import init_default_scope
from mmengine.runner import Runner

from helpers.predictions import evaluate, sample
from helpers.scenes import furnished_room
from helpers.tiny_runs import tiny_config
from helpers.tiny_three_detr import tiny
from opendlign_mm.apis import init_model
from opendlign_mm.datasets.class_names import class_order
from opendlign_mm.datasets.procedural import CATEGORIES

BOXES = torch.tensor([[0., 0, 0, 1, 1, 1], [3, 0, 0, 1, 1, 1], [6, 0, 0, 1, 1, 1]])
CLASSES = ('chair', 'table', 'sofa')
OTHER_ORDER = ('sofa', 'chair', 'table')


def test_order_by_hand():
    assert class_order(('c', 'a', 'b'), ('a', 'b', 'c')).tolist() == [1, 2, 0]
    assert class_order(('a', 'b'), ('a', 'b')) is None
    assert class_order(('night stand', 'garbage bin'), ('night_stand', 'garbagebin')) is None
    assert class_order(('garbage bin', 'night stand'), ('night_stand', 'garbagebin')).tolist() == [1, 0]


def test_differing_names_are_said():
    with pytest.raises(ValueError, match='only the model has d; only the dataset has b, c[.]'):
        class_order(('a', 'd'), ('a', 'b', 'c'))
    with pytest.raises(ValueError, match='only mine has none; only the dataset has c1, c2, c3, c4, c5, ...[.]'):
        class_order(('a', ), ('a', *(f'c{number}' for number in range(1, 8))), 'mine')
    with pytest.raises(ValueError, match="the dataset has the class 'night stand' twice"):
        class_order(('a', 'b', 'c'), ('lamp', 'night_stand', 'night stand'))
    with pytest.raises(ValueError, match="yours has the class 'garbage bin' twice"):
        class_order(('lamp', 'garbage bin', 'garbagebin'), ('a', 'b', 'c'), 'yours')
    with pytest.raises(ValueError, match='only the model has none; only the dataset has c1, c2, c3, c4, c5[.]'):
        class_order(('a', ), ('a', *(f'c{number}' for number in range(1, 6))))


def test_accuracy_does_not_depend_on_the_order_of_the_vocabulary(tmp_path):
    generator = np.random.default_rng(0)
    scores, frozen = generator.random((2, 30, 3)).astype(np.float32)
    labels = generator.integers(0, 3, 30)
    expected = evaluate([sample(int(label), *rows) for label, *rows in zip(labels, scores, frozen, strict=True)],
                        CLASSES, out_dir=tmp_path / 'one')
    moved = [2, 0, 1]  # OTHER_ORDER by the places of its names in CLASSES
    samples = [sample(int(label), *(row[moved] for row in rows))
               for label, *rows in zip(labels, scores, frozen, strict=True)]
    for each in samples:
        each.set_metainfo(dict(class_names=OTHER_ORDER))
    assert evaluate(samples, CLASSES, out_dir=tmp_path / 'two') == expected
    assert (tmp_path / 'one/per_class.csv').read_text() == (tmp_path / 'two/per_class.csv').read_text()
    samples[3].set_metainfo(dict(class_names=('sofa', 'chair', 'bed')))
    with pytest.raises(ValueError, match='only the model has bed; only the dataset has table'):
        evaluate(samples, CLASSES)


def test_a_config_with_another_order_of_the_classes_is_right(tmp_path):
    config = tiny_config(tmp_path)
    assert not any(hook['type'] == 'VocabularyFromDatasetHook' for hook in config.custom_hooks)
    config.test_evaluator = dict(type='ZeroShotAccuracy', topk=range(1, len(CATEGORIES)), print_per_class=False)
    expected = Runner.from_cfg(config).test()
    assert len({expected[f'zero_shot/top{k}'] for k in range(1, len(CATEGORIES))}) > 3, 'a random model, but not alike'
    config.model.zero_shot_head.class_names = CATEGORIES[::-1]
    assert Runner.from_cfg(config).test() == pytest.approx(expected)
    config.model.zero_shot_head.class_names = ('zebra', *CATEGORIES[1:])
    with pytest.raises(ValueError, match=f'only the model has zebra; only the dataset has {CATEGORIES[0]}'):
        Runner.from_cfg(config).test()


def test_other_words_for_the_classes_are_no_other_classes(tmp_path):
    config = tiny_config(tmp_path)
    wording = {name: f'{name} in a room' for name in CATEGORIES}
    config.custom_hooks = [*config.custom_hooks, dict(type='VocabularyFromDatasetHook', wording=wording)]
    runner = Runner.from_cfg(config)
    metrics = runner.test()
    assert runner.model.zero_shot_head.class_names[0] == f'{CATEGORIES[0]} in a room'
    assert metrics['zero_shot/num_samples'] == 8


def boxes(rows):
    return DepthInstance3DBoxes(rows, box_dim=6, with_yaw=False)


def scene(class_names, labels, probabilities):
    """Three objects, a chair, a table and a sofa, each found exactly."""
    return dict(
        class_names=class_names,
        pred_instances_3d=dict(bboxes_3d=boxes(BOXES), scores_3d=torch.tensor([.9, .8, .7]),
                               labels_3d=torch.tensor(labels)),
        proposals_3d=dict(bboxes_3d=boxes(BOXES), objectness=torch.ones(3),
                          class_probabilities=torch.tensor(probabilities)),
        eval_ann_info=dict(gt_bboxes_3d=boxes(BOXES), gt_labels_3d=np.array([0, 1, 2])))


def measure(name, *scenes):
    init_default_scope('mmdet3d')
    metric = METRICS.build(dict(type=name))
    metric.dataset_meta = dict(classes=CLASSES, box_type_3d='Depth')
    metric.process({}, scenes)
    return metric.evaluate(len(scenes))


def test_detection_metrics_do_not_depend_on_the_order_of_the_vocabulary():
    # In OTHER_ORDER a chair is 1, a table 2 and a sofa 0; the table is taken for a sofa.
    found = scene(OTHER_ORDER, [1, 0, 0], [[0., 1, 0], [.6, 0, .4], [1, 0, 0]])
    results = measure('OpenVocabIndoorMetric', found)
    # A wrong sofa (0.8) is ahead of the right one (0.7): precision 1/2 at recall 1.
    assert results['chair_AP_0.50'] == pytest.approx(1) and results['sofa_AP_0.50'] == pytest.approx(.5)
    assert results['table_AP_0.50'] == 0 and results['mAP_0.50'] == pytest.approx(.5)
    assert measure('BoxClassificationAccuracy', found)['recognition/top1_0.50'] == pytest.approx(2 / 3)
    assert found['pred_instances_3d']['labels_3d'].tolist() == [1, 0, 0], 'the sample is left as it was'


def test_objects_of_a_scene_without_detections_are_missed_whatever_the_order():
    nothing = scene(None, [], torch.zeros(0, 0).tolist())
    nothing['pred_instances_3d'].update(bboxes_3d=boxes(BOXES[:0]), scores_3d=torch.zeros(0),
                                        labels_3d=torch.zeros(0, dtype=torch.int64))
    nothing['proposals_3d'].update(bboxes_3d=boxes(BOXES[:0]), objectness=torch.zeros(0),
                                   class_probabilities=torch.zeros(0, 0))
    found = scene(OTHER_ORDER, [1, 2, 0], [[0., 1, 0], [0, 0, 1], [1, 0, 0]])
    assert measure('OpenVocabIndoorMetric', found, nothing)['mAR_0.50'] == pytest.approx(.5)
    results = measure('BoxClassificationAccuracy', found, nothing)
    assert results['recognition/found_0.50'] == 3 and results['recognition/top1_0.50'] == 1
    assert measure('ProposalRecall', found, nothing)['proposals/recall_0.50'] == pytest.approx(.5)


@pytest.mark.parametrize('name', ['OpenVocabIndoorMetric', 'BoxClassificationAccuracy'])
def test_detections_of_other_classes_are_refused(name):
    with pytest.raises(ValueError, match='only the model has bed; only the dataset has sofa'):
        measure(name, scene(('chair', 'table', 'bed'), [0, 1, 2], torch.eye(3).tolist()))


def test_a_model_with_fixed_classes_knows_their_names_from_its_training():
    hook, points = HOOKS.build(dict(type='VocabularyFromDatasetHook')), furnished_room()[0]
    runner = SimpleNamespace(model=tiny(num_classes=3).eval())

    def names():
        detected, = runner.model.predict(dict(points=[points]))
        return detected.get('class_names')

    assert names() is None
    hook.after_load_checkpoint(runner, dict(meta=dict(dataset_meta=dict(classes=list(OTHER_ORDER)))))
    assert names() == OTHER_ORDER
    hook.after_load_checkpoint(runner, dict(meta=dict(dataset_meta=dict(classes=('a', 'b')))))
    assert names() is None, 'these are not the names of its classes'
    runner.train_dataloader = SimpleNamespace(dataset=SimpleNamespace(metainfo=dict(classes=CLASSES)))
    hook.before_train(runner)
    hook.after_load_checkpoint(runner, dict(state_dict={}))
    assert names() == CLASSES


def test_a_loaded_model_tells_the_names_that_its_predictions_index(tmp_path):
    config = tiny_config(tmp_path)
    model = init_model(config)
    assert model.dataset_meta['classes'] == tuple(CATEGORIES)
    torch.save(dict(state_dict=model.state_dict(), meta=dict(dataset_meta=dict(classes=('x', 'y'), benchmark='b'))),
               tmp_path / 'a.pth')
    meta = init_model(config, tmp_path / 'a.pth').dataset_meta
    assert meta == dict(classes=tuple(CATEGORIES), benchmark='b')
    config.model.zero_shot_head.class_names = None
    assert init_model(config, tmp_path / 'a.pth').dataset_meta['classes'] == ('x', 'y')
    assert init_model(config).dataset_meta is None
