"""The detection configs run from files to metrics, with small models, also if files are unreadable."""
import json
import pickle

import numpy as np
import pytest
from mmengine.config import Config
from mmengine.runner import Runner

from helpers.scenes import furnished_room
from helpers.tiny_clip import TINY_BACKBONE
from helpers.tiny_runs import PROJECTION
from helpers.tool_modules import REPOSITORY

THREE_DETR = {
    'model.num_queries': 16, 'model.set_abstraction': dict(num_points=64, num_samples=8, channels=(16, 16, 32)),
    'model.encoder': dict(_delete_=True, feedforward_channels=16),
    'model.decoder': dict(num_layers=2, feedforward_channels=16), 'model.selection': dict(objectness_threshold=0.)}
LABELS = (2, 4, 0, 12)  # places in ScanNet's 18 classes


def write_scenes(folder, scenes):
    """Write scenes in mmdet3d's format for ScanNet: name -> (points (N, 6), boxes (M, 6))."""
    (folder / 'points').mkdir(parents=True)
    infos = []
    for name, (points, boxes) in scenes.items():
        np.asarray(points, dtype=np.float32).tofile(folder / 'points' / f'{name}.bin')
        infos.append(dict(
            lidar_points=dict(num_pts_feats=6, lidar_path=f'{name}.bin'), axis_align_matrix=np.eye(4).tolist(),
            pts_semantic_mask_path=f'{name}.bin', pts_instance_mask_path=f'{name}.bin',
            instances=[dict(bbox_3d=[float(value) for value in box], bbox_label_3d=label)
                       for box, label in zip(boxes, LABELS)]))
    metainfo = dict(dataset='scannet', info_version='1.1')
    (folder / 'scannet_infos_val.pkl').write_bytes(pickle.dumps(dict(metainfo=metainfo, data_list=infos)))


def run(name, folder, work_dir, proposals=None):
    """Test a config on ``folder`` with a random CLIP and return the metrics."""
    config = Config.fromfile(REPOSITORY / f'configs/{name}.py')
    config.model.classifier.backbone = dict(TINY_BACKBONE)
    config.model.classifier.zero_shot_head = dict(type='ZeroShotHead', templates=['a {}'])
    config.model.projection = PROJECTION
    if proposals is None:
        config.model.proposals.update(checkpoint=None, cfg_options=THREE_DETR)
    else:
        config.model.proposals = proposals
    config.test_dataloader.dataset.data_root = str(folder)
    config.test_dataloader.update(num_workers=0)
    config.update(work_dir=str(work_dir), load_from=None, randomness=dict(seed=0), experiment_name=str(work_dir))
    return Runner.from_cfg(config).test()


def is_complete(metrics):
    return {'mAP_0.25', 'mAP_0.50', 'proposals/recall_0.25@64', 'proposals/recall_0.50@128', 'class_agnostic/AP_0.25',
            'recognition/top1_0.50'} <= set(metrics) and np.isfinite(list(metrics.values())).all()


def test_scannet(tmp_path):
    points, boxes = (tensor.numpy() for tensor in furnished_room())
    write_scenes(tmp_path / 'data', dict(scene0000_00=(points, boxes)))
    metrics = run('opendlign_h14_scannet', tmp_path / 'data', tmp_path / 'run')
    assert is_complete(metrics) and metrics['proposals/per_scene'] > 0 and 'proposals/recall_0.50@256' in metrics
    perfect = run('opendlign_h14_scannet', tmp_path / 'data', tmp_path / 'true', dict(type='GroundTruthProposals'))
    assert perfect['class_agnostic/AP_0.25'] == perfect['class_agnostic/AP_0.50'] == pytest.approx(1)
    assert perfect['recognition/found_0.50'] == 4


def test_boxes_of_the_rooms_detector(tmp_path):
    write_scenes(tmp_path / 'data', dict(scene0000_00=tuple(tensor.numpy() for tensor in furnished_room())))
    metrics = run('opendlign_tiny_rooms_3detr', tmp_path / 'data', tmp_path / 'run')
    assert is_complete(metrics) and metrics['proposals/per_scene'] > 0


def test_sunrgbd(tmp_path):
    """Rotated boxes, 10 classes."""
    points, boxes = (tensor.numpy() for tensor in furnished_room())
    (tmp_path / 'points').mkdir()
    points.tofile(tmp_path / 'points/000001.bin')
    image = dict(CAM0=dict(img_path='1.jpg', depth2img=np.eye(3).tolist(), height=9, width=9))
    instances = [dict(bbox_3d=[*map(float, box), .1], bbox_label_3d=label, bbox=[0, 0, 9, 9], bbox_label=label)
                 for label, box in enumerate(boxes)]
    names = ('bed', 'table', 'sofa', 'chair', 'toilet', 'desk', 'dresser', 'night_stand', 'bookshelf', 'bathtub')
    contents = dict(
        metainfo=dict(categories={name: label for label, name in enumerate(names)}, dataset='sunrgbd'),
        data_list=[dict(lidar_points=dict(num_pts_feats=6, lidar_path='000001.bin'), images=image,
                        instances=instances)])
    (tmp_path / 'sunrgbd_infos_val.pkl').write_bytes(pickle.dumps(contents))
    assert is_complete(run('opendlign_h14_sunrgbd', tmp_path, tmp_path / 'run'))
    perfect = run('opendlign_h14_sunrgbd', tmp_path, tmp_path / 'true', dict(type='GroundTruthProposals'))
    assert perfect['class_agnostic/AP_0.25'] == pytest.approx(1) and perfect['recognition/found_0.50'] == 4


@pytest.mark.parametrize('source', ['ClusterProposals', 'GroundTruthProposals', 'FileProposals', None])
def test_a_test_with_unreadable_scenes_ends_and_counts_their_objects_as_missed(tmp_path, source):
    points, boxes = (tensor.numpy() for tensor in furnished_room())
    with_nan = points.copy()
    with_nan[7, 1] = np.nan
    outside = boxes + [40, 0, 0, 0, 0, 0]
    write_scenes(tmp_path / 'data', dict(
        truncated=(points.flatten()[:-1], boxes), good=(points, boxes), empty=(points[:0], boxes),
        single=(points[:1], boxes), nan=(with_nan, boxes),
        outside=(points, outside), unannotated=(points, [])))
    proposals = source and dict(type=source)
    if source == 'FileProposals':
        (tmp_path / 'boxes').mkdir()
        for name in ('truncated', 'good', 'empty', 'nan', 'outside', 'single'):
            (tmp_path / 'boxes' / f'{name}.json').write_text(json.dumps(dict(boxes=boxes.tolist())))
        (tmp_path / 'boxes/single.json').write_text('{"boxes": [[')
        proposals.update(folder=str(tmp_path / 'boxes'), on_unreadable='skip')
    metrics = run('opendlign_h14_scannet', tmp_path / 'data', tmp_path / 'run', proposals)
    assert is_complete(metrics)
    assert metrics['unreadable'] == metrics['proposals/unreadable'] == (5 if source == 'FileProposals' else 3)
    if source == 'GroundTruthProposals':  # of 24 objects, those of unreadable scenes included, 4 can be found
        assert metrics['proposals/recall_0.50'] == pytest.approx(4 / 24)


def test_no_proposal_in_any_scene_is_a_result_of_zero(tmp_path):
    points, boxes = (tensor.numpy() for tensor in furnished_room())
    write_scenes(tmp_path / 'data', dict(scene0000_00=(points, boxes), scene0001_00=(points, boxes)))
    (tmp_path / 'boxes').mkdir()
    (tmp_path / 'boxes/scene0000_00.json').write_text('{"boxes": []}')
    (tmp_path / 'boxes/scene0001_00.json').write_text('{"boxes": [[50, 50, 50, 1, 1, 1]]}')
    metrics = run('opendlign_h14_scannet', tmp_path / 'data', tmp_path / 'run',
                  dict(type='FileProposals', folder=str(tmp_path / 'boxes')))
    assert is_complete(metrics) and metrics['mAP_0.25'] == metrics['class_agnostic/AP_0.25'] == 0
    assert metrics['proposals/per_scene'] == 0 and metrics['proposals/dropped_per_scene'] == .5


def test_missing_weights_of_the_boxes_are_named(tmp_path):
    config = Config.fromfile(REPOSITORY / 'configs/opendlign_h14_scannet.py')
    config.work_dir = str(tmp_path)
    with pytest.raises(FileNotFoundError, match=r'checkpoints/3detr_m_scannet\.pth.*model\.proposals\.checkpoint'):
        Runner.from_cfg(config)
