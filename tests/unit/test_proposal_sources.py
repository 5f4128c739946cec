"""Boxes from 3DETR, from detectors of mmdet3d and from files, and their use in OpenVocabDetector3D."""
import importlib.util
import json
import logging
import pickle
import re

import numpy as np
import pytest
import torch
from mmdet3d.registry import MODELS, TRANSFORMS
from mmdet3d.structures import DepthInstance3DBoxes, Det3DDataSample
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.logging import MMLogger
from mmengine.registry import init_default_scope

from helpers.scenes import CLASSES, furnished_room, tiny_classifier_config, tiny_detector
from opendlign_mm.box_ops.iou import box_overlaps
from opendlign_mm.command_line.user_errors import user_errors
from opendlign_mm.config_options import read_config
from opendlign_mm.detection import DetectorProposals, FileProposals, ProposeBoxes, ThreeDETRProposals

THREE_DETR = dict(model=dict(
    type='ThreeDETR', num_classes=1, class_agnostic=True, num_queries=16,
    set_abstraction=dict(num_points=64, num_samples=8, channels=(16, 16, 32)),
    encoder=dict(feedforward_channels=16), decoder=dict(num_layers=2, feedforward_channels=16)))


@pytest.fixture(autouse=True)
def scope():
    init_default_scope('mmdet3d')


@pytest.fixture
def three_detr_checkpoint(tmp_path):
    torch.manual_seed(1)
    path = tmp_path / '3detr.pth'
    torch.save(dict(state_dict=MODELS.build(THREE_DETR['model']).state_dict(), meta=dict()), path)
    return path


def scene_named(path='points/scene0000_00.bin'):
    sample = Det3DDataSample()
    sample.set_metainfo(dict(lidar_path=path))
    return sample


# --- 3DETR ----------------------------------------------------------------------------------------------------------

def test_three_detr_proposes_what_the_detector_finds(three_detr_checkpoint):
    points, _ = furnished_room()
    source = ThreeDETRProposals(THREE_DETR, three_detr_checkpoint, num_points=None)
    found = source(points)
    detector = MODELS.build(THREE_DETR['model']).eval()
    detector.load_state_dict(torch.load(three_detr_checkpoint)['state_dict'])
    expected, = detector.propose([points])
    assert len(found) == len(expected) > 0
    torch.testing.assert_close(found.objectness, expected.objectness)
    torch.testing.assert_close(found.bboxes_3d.tensor, expected.bboxes_3d.tensor)
    # Sampled, but the same each time; a stricter selection keeps fewer.
    sampled = ThreeDETRProposals(THREE_DETR, three_detr_checkpoint, num_points=500)
    assert torch.equal(sampled(points).bboxes_3d.tensor, sampled(points).bboxes_3d.tensor)
    seen = []
    sampled.detector.propose = lambda scenes: seen.append(scenes[0]) or [expected]
    sampled(points)
    places = {tuple(row): number for number, row in enumerate(points[:, :3].tolist())}
    numbers = np.array([places[tuple(row)] for row in seen[0].tolist()])
    assert len(set(numbers)) == 500, 'each point once, and not the first 500'
    assert abs((numbers >= len(points) // 2).mean() - .5) < .1
    strict = ThreeDETRProposals(THREE_DETR, three_detr_checkpoint, num_points=None, selection=dict(max_boxes=1))
    assert len(strict(points)) == 1


def test_the_checkpoint_of_the_classifier_does_not_change_the_proposals(three_detr_checkpoint):
    source = dict(type='ThreeDETRProposals', config=THREE_DETR, checkpoint=three_detr_checkpoint)
    detector = tiny_detector(source)
    assert not detector.train().proposals.training and not any(p.requires_grad for p in detector.proposals.parameters())
    points, _ = furnished_room()
    before = detector.proposals(points).objectness
    detector.load_state_dict(MODELS.build(tiny_classifier_config()).state_dict())
    assert torch.equal(detector.proposals(points).objectness, before)
    # A checkpoint of the whole detector contains its own.
    other = tiny_detector(dict(source, checkpoint=None))
    other.load_state_dict(detector.state_dict())
    assert torch.equal(other.proposals(points).objectness, before)
    sample, = detector.predict(dict(points=[points]))
    assert sample.proposals_3d.class_probabilities.shape == (len(sample.proposals_3d), len(CLASSES))


def test_a_checkpoint_of_another_model_is_refused(tmp_path, three_detr_checkpoint):
    with pytest.raises(FileNotFoundError, match=r'none\.pth'):
        ThreeDETRProposals(THREE_DETR, tmp_path / 'none.pth')
    with pytest.raises(FileNotFoundError, match=r'none\.py'):
        ThreeDETRProposals(tmp_path / 'none.py')
    torch.save(dict(state_dict=dict(weight=torch.zeros(1))), tmp_path / 'other.pth')
    with pytest.raises(RuntimeError, match=r'other\.pth'):
        ThreeDETRProposals(THREE_DETR, tmp_path / 'other.pth')
    other = dict(model=dict(THREE_DETR['model'], num_angle_bins=12))
    with pytest.raises(RuntimeError, match=r'3detr\.pth is not a checkpoint of'):
        ThreeDETRProposals(other, three_detr_checkpoint)
    with pytest.raises(ValueError, match='use DetectorProposals for other'):
        ThreeDETRProposals('mmdet3d::votenet/votenet_8xb8_scannet-3d.py')


# --- detectors of mmdet3d -------------------------------------------------------------------------------------------

def test_a_detector_of_mmdet3d_proposes_boxes_through_its_own_pipeline(tmp_path):
    points, _ = furnished_room()
    name = 'mmdet3d::votenet/votenet_8xb8_scannet-3d.py'
    torch.manual_seed(0)
    source = DetectorProposals(name, max_proposals=7)
    seen = []
    source.detector.backbone.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    random = np.random.get_state()[1].copy()
    found = source(points)
    assert (np.random.get_state()[1] == random).all(), 'the global random state is unchanged'
    assert 0 < len(found) <= 7 and (found.objectness.diff() <= 0).all()
    assert box_overlaps(found.bboxes_3d, found.bboxes_3d).fill_diagonal_(0).max() <= 0.5
    assert seen[0].shape == (1, 40000, 4), 'x, y, z and the height above the floor, 40,000 points'
    assert seen[0][..., 3].min() < 0.1
    torch.save(dict(state_dict=source.detector.state_dict()), tmp_path / 'votenet.pth')
    again = DetectorProposals(name, tmp_path / 'votenet.pth', max_proposals=7)(points)
    assert torch.equal(again.bboxes_3d.tensor, found.bboxes_3d.tensor)
    assert len(DetectorProposals(name, score_threshold=1.)(points)) == 0


@pytest.mark.parametrize('name, with_yaw', [
    ('groupfree3d/groupfree3d_head-L6-O256_4xb8_scannet-seg.py', False), ('h3dnet/h3dnet_8xb3_scannet-seg.py', False),
    ('votenet/votenet_8xb16_sunrgbd-3d.py', True)])
def test_other_detectors_of_mmdet3d_run_on_the_cpu(name, with_yaw):
    """The detectors that README.md names, from points to boxes."""
    points, _ = furnished_room()
    torch.manual_seed(0)
    found = DetectorProposals(f'mmdet3d::{name}', max_proposals=7)(points)
    assert 0 < len(found) <= 7 and torch.isfinite(found.bboxes_3d.tensor).all()
    assert isinstance(found.bboxes_3d, DepthInstance3DBoxes) and bool(found.bboxes_3d.yaw.any()) is with_yaw
    assert (found.objectness.diff() <= 0).all()


@pytest.mark.skipif(importlib.util.find_spec('MinkowskiEngine') is not None, reason='MinkowskiEngine is installed')
def test_a_missing_package_of_a_detector_is_one_message(capfd):
    with pytest.raises(SystemExit) as stop, user_errors():
        DetectorProposals('mmdet3d::fcaf3d/fcaf3d_2xb8_scannet-3d-18class.py')
    errors = capfd.readouterr().err
    assert stop.value.code == 2 and 'Traceback' not in errors
    assert re.search(r'error: \S+fcaf3d_2xb8_scannet-3d-18class.py needs the Python package MinkowskiEngine.*VoteNet',
                     errors)


def test_a_project_of_mmdet3d_without_its_repository_is_one_message(tmp_path, capfd):
    config = tmp_path / 'tr3d.py'
    config.write_text("custom_imports = dict(imports=['projects.NoSuchProject'])\nmodel = dict(type='VoteNet')\n")
    with pytest.raises(SystemExit), user_errors():
        DetectorProposals(config)
    errors = capfd.readouterr().err
    assert 'Traceback' not in errors and 'tr3d.py' in errors and 'PYTHONPATH' in errors
    assert "projects" in errors and len(errors) < 600


def test_point_operations_of_mmcv_on_the_cpu():
    from mmcv.ops import (
        ball_query,
        furthest_point_sample,
        gather_points,
        grouping_operation,
        three_interpolate,
        three_nn,
    )

    from opendlign_mm.detection.mmcv_on_cpu import run_point_ops_on_cpu
    run_point_ops_on_cpu()
    run_point_ops_on_cpu()
    generator = torch.Generator().manual_seed(0)
    xyz, features = torch.rand(2, 50, 3, generator=generator), torch.rand(2, 4, 50, generator=generator)
    chosen = furthest_point_sample(xyz, 8)
    assert chosen.dtype == torch.int32 and (chosen[:, 0] == 0).all() and all(len(row.unique()) == 8 for row in chosen)
    gathered = gather_points(features, chosen)
    assert torch.equal(gathered[1, :, 3], features[1, :, chosen[1, 3]])
    centers = gather_points(xyz.transpose(1, 2).contiguous(), chosen).transpose(1, 2).contiguous()
    indices = ball_query(0, 0.3, 5, xyz, centers)
    distances = (xyz[0][indices[0, 2].long()] - centers[0, 2]).norm(dim=1)
    assert indices.shape == (2, 8, 5) and distances.max() < 0.3
    groups = grouping_operation(features, indices)
    assert groups.shape == (2, 4, 8, 5) and torch.equal(groups[1, :, 7, 4], features[1, :, indices[1, 7, 4]])
    distance, nearest = three_nn(xyz, centers)
    expected = (xyz[:, :, None] - centers[:, None]).norm(dim=3).sort(dim=2)
    torch.testing.assert_close(distance, expected.values[..., :3])
    weights = torch.full((2, 50, 3), 1 / 3)
    mixed = three_interpolate(gathered, nearest, weights)
    torch.testing.assert_close(mixed[0, :, 9], gathered[0][:, nearest[0, 9].long()].mean(dim=1))
    boxes = DepthInstance3DBoxes(torch.tensor([[.5, .5, 0, 1, 1, .5, 0.]]))
    assert torch.equal(boxes.points_in_boxes_all(xyz[0])[:, 0].bool(), xyz[0, :, 2] < .5)


def test_detectors_that_cannot_propose_are_named():
    with pytest.raises(ValueError, match='test_dataloader.dataset.pipeline'):
        DetectorProposals(THREE_DETR)
    config = Config(dict(THREE_DETR, test_dataloader=dict(dataset=dict(box_type_3d='LiDAR', pipeline=[
        dict(type='LoadPointsFromFile', coord_type='LIDAR', load_dim=4, use_dim=4)]))))
    with pytest.raises(ValueError, match='LiDAR'):
        DetectorProposals(config)
    source = DetectorProposals(dict(THREE_DETR, test_dataloader=dict(dataset=dict(box_type_3d='Depth', pipeline=[
        dict(type='LoadPointsFromFile', coord_type='DEPTH', load_dim=6, use_dim=[0, 1, 2, 3, 4, 5], use_color=True),
        dict(type='Pack3DDetInputs', keys=['points'])]))))
    with pytest.raises(ValueError, match='uses 6 columns'):
        source(torch.rand(100, 3))
    assert len(source(furnished_room()[0])) > 0


# --- files ----------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize('ending', ['json', 'npz'])
def test_boxes_of_files(tmp_path, ending):
    boxes = [[1, 1, .4, 1, .8, .8, .3], [3.5, 1.2, .35, 1.2, .7, .7, 0]]
    if ending == 'json':
        (tmp_path / 'scene0000_00.json').write_text(json.dumps(dict(boxes=boxes, scores=[.25, .5])))
    else:
        np.savez(tmp_path / 'scene0000_00.npz', boxes=boxes, scores=[.25, .5])
    points, _ = furnished_room()
    found = FileProposals(tmp_path)(points, scene_named())
    assert found.objectness.tolist() == [.5, .25]
    torch.testing.assert_close(found.bboxes_3d.gravity_center, torch.tensor(boxes)[[1, 0], :3])
    torch.testing.assert_close(found.bboxes_3d.yaw, torch.tensor([0, .3]))
    bottom = FileProposals(tmp_path, origin='bottom_center')(points, scene_named())
    torch.testing.assert_close(bottom.bboxes_3d.tensor[:, 2], torch.tensor([.35, .4]))


@pytest.mark.parametrize('content, message', [
    ('{"boxes": [[1, 2, 3]]}', r'\(K, 6\) or \(K, 7\)'), ('{"boxes": [[1, 2', 'cannot be read'), ('{}', "no 'boxes'"),
    ('{"boxes": [[0, 0, 0, 1, -1, 1]]}', 'negative size'), ('{"boxes": [[0, 0, 0, 1, NaN, 1]]}', 'not finite'),
    ('{"boxes": [[0, 0, 0, 1, 1, 1]], "scores": [2]}', r'\[0, 1\]'),
    ('{"boxes": [[0, 0, 0, 1, 1, 1]], "scores": [1, 1]}', 'scores')])
def test_broken_files_are_named(tmp_path, content, message):
    (tmp_path / 'scene0000_00.json').write_text(content)
    points, _ = furnished_room()
    with pytest.raises(ValueError, match=r'scene0000_00\.json.*' + message):
        FileProposals(tmp_path)(points, scene_named())


def test_missing_files_are_named(tmp_path):
    points, _ = furnished_room()
    with pytest.raises(FileNotFoundError, match=str(tmp_path)):
        FileProposals(tmp_path)
    (tmp_path / 'scene0000_00.json').write_text('{"boxes": []}')
    source = FileProposals(tmp_path)
    assert len(source(points, scene_named())) == 0
    with pytest.raises(ValueError, match='scene0001_00.json'):
        source(points, scene_named('scene0001_00.bin'))
    with pytest.raises(ValueError, match='lidar_path'):
        source(points)


# --- options of the detector ----------------------------------------------------------------------------------------

def boxes_in(folder, boxes, scores=None):
    (folder / 'scene0000_00.json').write_text(json.dumps(dict(boxes=boxes, scores=scores)))
    return dict(type='FileProposals', folder=folder)


def test_objectness_threshold_and_most_proposals(tmp_path):
    points, truth = furnished_room()
    source = boxes_in(tmp_path, truth.tolist(), [.1, .4, .3, .2])
    sample, = tiny_detector(source, objectness_threshold=.2).predict(dict(points=[points]), [scene_named()])
    torch.testing.assert_close(sample.proposals_3d.objectness, torch.tensor([.4, .3, .2]))
    sample, = tiny_detector(source, max_proposals=2).predict(dict(points=[points]), [scene_named()])
    torch.testing.assert_close(sample.proposals_3d.objectness, torch.tensor([.4, .3]))
    assert sample.num_dropped_proposals == 0


def test_boxes_are_padded(tmp_path):
    points, truth = furnished_room()
    truth[:, 3:] -= 0.1
    source = boxes_in(tmp_path, truth.tolist())
    few = tiny_detector(source, min_points=600)
    many = tiny_detector(source, min_points=600, box_margin=0.1)
    counts = [len(model.predict(dict(points=[points]), [scene_named()])[0].proposals_3d) for model in (few, many)]
    assert counts == [0, 4]


def test_background_absorbs_its_share(tmp_path):
    points, truth = furnished_room()
    source = boxes_in(tmp_path, truth.tolist())
    plain, absorbing = tiny_detector(source), tiny_detector(source, background=['wall', 'floor', 'chair'])
    assert absorbing.class_names == CLASSES
    results = [model.predict(dict(points=[points]), [scene_named()])[0] for model in (plain, absorbing)]
    without, with_background = (result.proposals_3d.class_probabilities for result in results)
    share = with_background.sum(dim=1)
    assert without.shape == with_background.shape and (share < 1).all() and (share > 0).all()
    # The rest is shared as before: the same softmax.
    torch.testing.assert_close(with_background / share[:, None], without, atol=1e-4, rtol=0)
    assert set(results[1].pred_instances_3d.labels_3d.tolist()) <= {0, 1, 2}
    absorbing.set_vocabulary(['wall', 'sofa'])  # a wall is now something to detect
    assert absorbing.class_names == ('wall', 'sofa')
    sample, = absorbing.predict(dict(points=[points]), [scene_named()])
    assert sample.proposals_3d.class_probabilities.shape == (4, 2)
    with pytest.raises(ValueError, match='more than once: floor'):
        tiny_detector(source, background=['floor', 'floor'])


@pytest.mark.parametrize('wrong', [dict(max_proposals=0), dict(box_margin=-1)])
def test_wrong_options_are_named(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        tiny_detector(**wrong)


def bad_scenes():
    points, _ = furnished_room()
    with_nan = points.clone()
    with_nan[5, 2] = float('nan')
    return dict(empty=points[:0], nan=with_nan, infinite=points * float('inf'))


@pytest.mark.parametrize('kind', bad_scenes())
def test_a_scene_with_unusable_points_is_an_error(kind, tmp_path):
    points, truth = furnished_room()
    scenes = dict(points=[bad_scenes()[kind], points])
    with pytest.raises(ValueError, match='scene0000_00.bin'):
        tiny_detector(boxes_in(tmp_path, truth.tolist())).predict(scenes, [scene_named(), scene_named()])


def test_a_scene_without_usable_boxes_is_an_error_or_an_empty_result_with_its_reason(tmp_path):
    points, truth = furnished_room()
    source = boxes_in(tmp_path, truth.tolist())
    (tmp_path / 'scene0001_00.json').write_text('{"boxes": [[')
    scenes, names = dict(points=[points, points]), ('scene0001_00', 'scene0000_00')
    with pytest.raises(ValueError, match='scene0001_00.json cannot be read'):
        tiny_detector(source).predict(scenes, [scene_named(name) for name in names])
    records = []
    handler = logging.Handler()
    handler.emit = records.append
    logger = MMLogger.get_current_instance()
    logger.addHandler(handler)
    try:
        detector = tiny_detector(dict(source, on_unreadable='skip'))
        damaged, whole = detector.predict(scenes, [scene_named(name) for name in names])
    finally:
        logger.removeHandler(handler)
    assert len(damaged.pred_instances_3d) == len(damaged.proposals_3d) == 0 and len(whole.proposals_3d) == 4
    assert damaged.pred_instances_3d.labels_3d.dtype == torch.int64
    assert damaged.proposals_3d.class_probabilities.shape == (0, 3)
    assert any('scene0001_00.json' in record.getMessage() for record in records)
    assert 'scene0001_00.json' in damaged.metainfo['unreadable'] and 'unreadable' not in whole.metainfo
    with pytest.raises(ValueError, match="on_unreadable must be one of .*'skip'.*, got 'ignore'"):
        FileProposals(tmp_path, on_unreadable='ignore')


@pytest.mark.parametrize('source', ['ClusterProposals', 'ThreeDETRProposals', 'DetectorProposals', 'FileProposals'])
@pytest.mark.parametrize('count', [1, 3])
def test_scenes_of_a_few_points_are_empty_results(source, count, tmp_path):
    options = dict(
        ThreeDETRProposals=dict(config=THREE_DETR),
        DetectorProposals=dict(config='mmdet3d::votenet/votenet_8xb8_scannet-3d.py'),
        FileProposals=boxes_in(tmp_path, [[0, 0, 0, 1, 1, 1], [90, 90, 0, 1, 1, 1]]))
    detector = tiny_detector(dict(dict(type=source), **options.get(source, {})))
    sample, = detector.predict(dict(points=[torch.rand(count, 6)]), [scene_named()])
    assert len(sample.pred_instances_3d) == 0 and sample.pred_instances_3d.scores_3d.shape == (0, )


# --- data workers ---------------------------------------------------------------------------------------------------

def propose_in_pipeline(points, **sample):
    step = TRANSFORMS.build(dict(type='ProposeBoxes', proposals=dict(type='ClusterProposals', max_proposals=8)))
    return step(dict(inputs=dict(points=points), data_samples=Det3DDataSample(metainfo=sample)))


@pytest.mark.parametrize('away', [0., 2e4])
def test_boxes_of_data_workers_are_those_of_the_detector(away):
    """Through a data worker's pickle and the preprocessor, also where boxes have more digits than float32 holds."""
    points = furnished_room()[0].double() + torch.tensor([away, -away, 0, 0, 0, 0])
    within = tiny_detector(dict(type='ClusterProposals', max_proposals=8))
    expected, = within.predict(dict(points=[points]), [Det3DDataSample()])
    ahead = tiny_detector('PipelineProposals')
    packed = pickle.loads(pickle.dumps(propose_in_pipeline(points, lidar_path='room.bin')))
    batch = ahead.data_preprocessor(pseudo_collate([packed]))
    found, = ahead.predict(dict(points=[points]), [sample.to('cpu') for sample in batch['data_samples']])
    assert len(found.pred_instances_3d) == len(expected.pred_instances_3d) > 4
    assert torch.equal(found.pred_instances_3d.bboxes_3d.tensor, expected.pred_instances_3d.bboxes_3d.tensor)
    assert torch.equal(found.proposals_3d.class_probabilities, expected.proposals_3d.class_probabilities)


def test_what_data_workers_cannot_propose_is_one_message():
    points = furnished_room()[0]
    with pytest.raises(ValueError, match=r"proposed no boxes for this scene; put dict\(type='ProposeBoxes'"):
        tiny_detector('PipelineProposals').predict(dict(points=[points]), [Det3DDataSample()])
    with pytest.raises(ValueError, match='goes after Pack3DDetInputs.*the pipeline has points here'):
        ProposeBoxes(dict(type='ClusterProposals'))(dict(points=points))
    with pytest.raises(ValueError, match='a source of its own'):
        ProposeBoxes(dict(type='PipelineProposals'))
    with pytest.raises(TypeError, match=r"proposals must be a config such as dict\(type='ClusterProposals'\)"):
        ProposeBoxes('ClusterProposals')
    with pytest.raises(ValueError, match='a/room.bin: there are no points'):
        propose_in_pipeline(points[:0], lidar_path='a/room.bin')


def test_the_option_of_the_config_puts_the_step_at_the_end():
    step = dict(type='ProposeBoxes', proposals=dict(type='ClusterProposals'))
    path = 'configs/opendlign_tiny_scannet.py'
    cfg = read_config(path, {'propose': [step], 'model.proposals.type': 'PipelineProposals'})
    assert [each['type'] for each in cfg.test_dataloader.dataset.pipeline[-2:]] == ['Pack3DDetInputs', 'ProposeBoxes']
    assert read_config(path).test_pipeline[-1]['type'] == 'Pack3DDetInputs'
