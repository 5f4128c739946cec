"""Samples that cannot be read: replaced in training, skipped and counted in tests, with any number of processes."""
import pickle

import numpy as np
import pytest
import torch
from mmdet3d.registry import DATASETS, MODELS, TRANSFORMS
from mmengine.config import Config
from mmengine.dataset import BaseDataset
from mmengine.model import BaseModel
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from mmengine.structures import InstanceData

from helpers.gloo_processes import run_in_processes
from opendlign_mm.datasets.procedural.room_writer import write_rooms
from opendlign_mm.datasets.unreadable import Unreadable, UnreadablePolicy, UnreadableRecords, policy_of
from opendlign_mm.structures import ShapeDataSample

NAMES = ('cup', 'chair', 'lamp', 'sofa')


@DATASETS.register_module(force=True)
class NumberedObjects(UnreadablePolicy, BaseDataset):
    """Objects 0 to N - 1 with label ``index % 4``; those in ``unreadable`` raise an error."""

    METAINFO = dict(classes=NAMES)

    def __init__(self, count, unreadable=(), **kwargs):
        self.count, self.bad = count, set(unreadable)
        super().__init__(pipeline=[dict(type='ReadNumber', unreadable=sorted(self.bad))], **kwargs)

    def load_data_list(self):
        return [dict(sample_id=f'object_{index}', number=index, gt_label=index % 4) for index in range(self.count)]


@TRANSFORMS.register_module(force=True)
class ReadNumber:
    """Pack a number, or fail."""

    def __init__(self, unreadable):
        self.unreadable = unreadable

    def __call__(self, results):
        if results['number'] in self.unreadable:
            raise ValueError(f'{results["sample_id"]}.ply is truncated')
        sample = ShapeDataSample(metainfo=dict(sample_id=results['sample_id'], number=results['number']))
        return dict(inputs=torch.tensor([results['number']]), data_samples=sample.set_gt_label(results['gt_label']))


@MODELS.register_module(force=True)
class EveryThirdWrong(BaseModel):
    """Classifier that takes each third object for the class after its own."""

    def forward(self, inputs, data_samples, mode):
        for sample in data_samples:
            label = (int(sample.gt_label) + (sample.number % 3 == 0)) % 4
            sample.set_pred_scores(torch.eye(4)[label] + torch.eye(4)[(label + 1) % 4] / 2)
        return data_samples


def run_test(tmp_path, dataset, evaluator, model, batch_size=2, workers=0):
    """Metrics of a test in this process or this process of several, and the loop's list of unreadable samples."""
    init_default_scope('mmdet3d')
    runner = Runner.from_cfg(Config(dict(
        default_scope='mmdet3d', model=model, work_dir=str(tmp_path), experiment_name=str(tmp_path),
        launcher='none', test_cfg=dict(type='ReportingTestLoop'), test_evaluator=evaluator,
        test_dataloader=dict(batch_size=batch_size, num_workers=workers, dataset=dataset,
                             sampler=dict(type='DefaultSampler', shuffle=False)))))
    return runner.test(), [str(record) for record in runner.test_loop.unreadable]


@MODELS.register_module(force=True)
class FirstBoxesOnly(BaseModel):
    """Detector that finds the first three annotated objects of a scene."""

    def __init__(self):
        super().__init__(data_preprocessor=dict(type='Det3DDataPreprocessor'))

    def forward(self, inputs, data_samples, mode):
        for sample in data_samples:
            boxes, labels = (sample.eval_ann_info[key][:3] for key in ('gt_bboxes_3d', 'gt_labels_3d'))
            scores = torch.linspace(.9, .5, len(boxes))
            sample.pred_instances_3d = InstanceData(bboxes_3d=boxes, scores_3d=scores, labels_3d=torch.tensor(labels))
            sample.proposals_3d = InstanceData(bboxes_3d=boxes, objectness=scores)
        return data_samples


@pytest.mark.parametrize('unreadable', [(), (1, 5), (0, 1, 2, 3), (0, 2, 4, 6)])
@pytest.mark.parametrize('processes', [2, 3])
def test_accuracies_are_those_of_one_process(tmp_path, processes, unreadable):
    """Seven objects: the sampler repeats one for two processes and two for three. Right by hand: see below."""
    readable = [index for index in range(7) if index not in unreadable]
    # Each third object is wrong at top-1, and its own class is the third best then.
    expected = dict(top1=100 * np.mean([index % 3 != 0 for index in readable]), num_samples=len(readable),
                    unreadable=len(unreadable))
    dataset = dict(type='NumberedObjects', count=7, unreadable=unreadable, test_mode=True, on_unreadable='skip')
    metric = dict(type='ZeroShotAccuracy', topk=(1, ), print_per_class=False, num_confused_pairs=0)

    def test(rank):
        return run_test(tmp_path / f'{processes}', dataset, metric, dict(type='EveryThirdWrong'))

    alone, listed = run_test(tmp_path / 'one', dataset, metric, dict(type='EveryThirdWrong'))
    for name, value in expected.items():
        assert alone[f'zero_shot/{name}'] == pytest.approx(value)
    assert listed == [f'object_{index}.ply is truncated' for index in unreadable]
    for metrics, names in run_in_processes(test, processes):
        assert metrics == pytest.approx(alone)
        assert sorted(names) == listed


def test_objects_of_unreadable_scenes_are_missed_with_any_number_of_processes(tmp_path):
    """Five scenes: the sampler repeats one for two and for three processes."""
    write_rooms(tmp_path / 'rooms', num_train=1, num_val=5, num_points=3000)
    for number, content in ((1, b''), (4, b'123')):  # scene 0 is the one that is repeated
        (tmp_path / f'rooms/points/room_val_{number:04d}.bin').write_bytes(content)
    dataset = dict(
        type='OpenVocabScanNetDataset', data_root=str(tmp_path / 'rooms'), ann_file='scannet_infos_val.pkl',
        data_prefix=dict(pts='points'), test_mode=True, box_type_3d='Depth', on_unreadable='skip', pipeline=[
            dict(type='LoadPointsFromFile', coord_type='DEPTH', load_dim=6, use_dim=3), dict(type='CheckScenePoints'),
            dict(type='Pack3DDetInputs', keys=['points'])])
    metrics = [dict(type='OpenVocabIndoorMetric'), dict(type='ProposalRecall'), dict(type='ClassAgnosticAP')]

    def test(rank):
        return run_test(tmp_path / 'run', dataset, metrics, dict(type='FirstBoxesOnly'))

    alone, listed = test(0)
    scenes = DATASETS.build(dataset)
    objects = [len(scenes.get_data_info(index)['eval_ann_info']['gt_labels_3d']) for index in range(5)]
    found = sum(min(3, objects[index]) for index in (0, 2, 3))
    assert objects[1] + objects[4] > 0 and alone['proposals/recall_0.50'] == pytest.approx(found / sum(objects))
    assert alone['unreadable'] == alone['proposals/unreadable'] == alone['class_agnostic/unreadable'] == 2
    assert ['room_val_0001' in listed[0], 'room_val_0004' in listed[1], len(listed)] == [True, True, 2]
    for processes in (2, 3):
        for several, names in run_in_processes(test, processes):
            assert several == pytest.approx(alone, nan_ok=True) and sorted(names) == listed


def test_a_test_without_a_readable_sample_is_an_error_of_every_process(tmp_path):
    dataset = dict(type='NumberedObjects', count=3, unreadable=(0, 1, 2), test_mode=True, on_unreadable='skip')

    def test(rank):
        with pytest.raises(ValueError, match='none of the 3 samples can be read; the first: object_'):
            run_test(tmp_path, dataset, dict(type='ZeroShotAccuracy'), dict(type='EveryThirdWrong'))
        return True

    assert run_in_processes(test, 2) == [True, True]


def test_without_the_option_an_unreadable_sample_ends_a_test(tmp_path):
    dataset = dict(type='NumberedObjects', count=3, unreadable=(1, ), test_mode=True)
    with pytest.raises(ValueError, match='object_1.ply is truncated'):
        run_test(tmp_path, dataset, dict(type='ZeroShotAccuracy'), dict(type='EveryThirdWrong'))


@pytest.mark.parametrize('workers', [0, 2])
def test_skipped_samples_are_listed_once_at_the_end(tmp_path, workers):
    dataset = dict(type='NumberedObjects', count=30, unreadable=range(3, 27), test_mode=True, on_unreadable='skip')
    metric = dict(type='ZeroShotAccuracy', print_per_class=False)
    metrics, _ = run_test(tmp_path, dataset, metric, dict(type='EveryThirdWrong'), workers=workers)
    assert metrics['zero_shot/num_samples'] == 6 and metrics['zero_shot/unreadable'] == 24
    log = ''.join(path.read_text() for path in tmp_path.rglob('*.log'))
    assert log.count('24 of 30 samples could not be read') == 1
    assert log.count('object_22.ply is truncated') == 1 and 'object_23.ply' not in log and '... and 4 more' in log


def test_training_replaces_by_the_same_sample_each_time():
    options = dict(type='NumberedObjects', count=20, unreadable=(3, 7))
    with pytest.raises(ValueError, match='object_3.ply is truncated'):
        DATASETS.build(options)[3]
    dataset = DATASETS.build(dict(options, on_unreadable='skip'))
    replaced = [int(dataset[index]['inputs']) for index in range(20)]
    assert {3, 7}.isdisjoint(replaced) and [n for n in replaced if n not in (replaced[3], replaced[7])] == [
        n for n in range(20) if n not in (3, 7, replaced[3], replaced[7])]
    # In another order, with other random states, in another process: the same.
    np.random.seed(1)
    again = DATASETS.build(dict(options, on_unreadable='skip'))
    assert [int(again[index]['inputs']) for index in (7, 3)] == [replaced[7], replaced[3]]


def test_training_stops_where_too_many_samples_are_unreadable():
    dataset = DATASETS.build(dict(type='NumberedObjects', count=250, unreadable=(3, 7, 11), on_unreadable='skip'))
    dataset._replaced.limit = .01
    dataset[3], dataset[3], dataset[7]
    with pytest.raises(ValueError, match='3 of 250 samples cannot be read; the last: object_11.ply'):
        dataset[11]
    none = DATASETS.build(dict(type='NumberedObjects', count=3, unreadable=(0, 1, 2), on_unreadable='skip'))
    with pytest.raises(ValueError, match='3 of 3 samples cannot be read'):
        none[0]


def test_other_words_are_refused():
    with pytest.raises(ValueError, match="on_unreadable must be one of .*, got 'ignore'"):
        DATASETS.build(dict(type='NumberedObjects', count=3, on_unreadable='ignore'))


def test_the_option_is_found_inside_wrappers():
    skip, error = (DATASETS.build(dict(type='NumberedObjects', count=3, on_unreadable=word))
                   for word in ('skip', 'error'))
    repeated = DATASETS.build(dict(type='RepeatDataset', times=2, dataset=skip))
    both = DATASETS.build(dict(type='ConcatDataset', datasets=[skip, error]))
    assert policy_of(repeated) == 'skip' and policy_of(both) == policy_of([1, 2]) == 'error'


def test_records_name_sample_and_reason():
    records = UnreadableRecords(DATASETS.build(
        dict(type='NumberedObjects', count=3, unreadable=(1, ), test_mode=True)))
    assert records[1] == Unreadable('object_1', 'object_1.ply is truncated')
    assert records.metainfo['classes'] == NAMES and len(records) == 3 and isinstance(records[0], dict)
    assert str(Unreadable('a/scene.bin', 'no points')) == 'a/scene.bin: no points'


class RunsCode:
    """An object whose pickle runs a command."""

    def __reduce__(self):
        return print, ('code of an info file runs', )


@pytest.fixture
def rooms(tmp_path):
    write_rooms(tmp_path / 'rooms', num_train=1, num_val=1, num_points=3000)
    init_default_scope('mmdet3d')
    return tmp_path / 'rooms'


def scenes_of(root, kind='OpenVocabScanNetDataset', **options):
    return DATASETS.build(dict(dict(type=kind, data_root=str(root), ann_file='scannet_infos_val.pkl', pipeline=[],
                                    data_prefix=dict(pts='points'), test_mode=True, box_type_3d='Depth'), **options))


@pytest.mark.parametrize('place', ['metainfo', 'data_list'])
@pytest.mark.parametrize('options', [{}, dict(metainfo=dict(classes=['chair', 'table']))])
def test_info_files_run_no_code(rooms, capsys, place, options):
    path = rooms / 'scannet_infos_val.pkl'
    contents = pickle.loads(path.read_bytes())
    if place == 'metainfo':
        contents['metainfo']['note'] = RunsCode()
    else:
        contents['data_list'][0]['note'] = RunsCode()
    path.write_bytes(pickle.dumps(contents))
    with pytest.raises(ValueError, match='scannet_infos_val.pkl cannot be read: it holds a .*print'):
        scenes_of(rooms, **options)
    with pytest.raises(ValueError, match='scannet_infos_val.pkl cannot be read: it holds a .*print'):
        scenes_of(rooms, 'OpenVocabSUNRGBDDataset')
    assert 'code of an info file runs' not in capsys.readouterr().out


def test_damaged_info_files_are_named(rooms):
    path = rooms / 'scannet_infos_val.pkl'
    content = path.read_bytes()
    for damaged in (b'', content[:len(content) // 2], content[:-1], b'no pickle', bytes(200), pickle.dumps([1, 2]),
                    pickle.dumps(dict(metainfo={}, infos=[]))):
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match='scannet_infos_val.pkl (cannot be read|is not an info file)'):
            scenes_of(rooms)
    contents = pickle.loads(content)
    contents['data_list'][0]['instances'][0].pop('bbox_3d')
    path.write_bytes(pickle.dumps(contents))
    with pytest.raises(ValueError, match='scannet_infos_val.pkl: scene 0 has unusable entries'):
        scenes_of(rooms)
    path.unlink()
    with pytest.raises(FileNotFoundError, match='scannet_infos_val.pkl.*make_rooms.py'):
        scenes_of(rooms)
    with pytest.raises(FileNotFoundError, match='scannet_infos_val.pkl.*make_rooms.py'):
        scenes_of(rooms, 'OpenVocabSUNRGBDDataset')
