"""mmdet3d's own LidarDet3DInferencer with the configs of scenes: no info file, no display."""
import json

import numpy as np
import pytest
import torch
from mmdet3d.apis import LidarDet3DInferencer
from mmdet3d.registry import MODELS
from mmdet3d.structures import Box3DMode, DepthInstance3DBoxes
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.visualization import Visualizer

from helpers.scenes import furnished_room
from helpers.tiny_clip import TINY_BACKBONE
from helpers.tiny_runs import PROJECTION
from helpers.tool_modules import REPOSITORY

SHAPES = ('sphere', 'cube')  # classes that a checkpoint was trained on


@pytest.fixture
def room(tmp_path):
    path = tmp_path / 'room.bin'
    furnished_room()[0].numpy().tofile(path)
    return str(path)


def scenes_config(name):
    cfg = Config.fromfile(REPOSITORY / f'configs/{name}.py')
    cfg.test_dataloader.dataset.data_root = 'no/such/folder'
    if name == 'opendlign_tiny_scannet':
        cfg.model.classifier.backbone = dict(TINY_BACKBONE)
        cfg.model.classifier.zero_shot_head = dict(type='ZeroShotHead', templates=['a {}'])
        cfg.model.projection = PROJECTION
        cfg.model.proposals.max_proposals = 5
    else:
        cfg.merge_from_dict(dict(model=dict(
            num_queries=16, set_abstraction=dict(num_points=64, num_samples=8, channels=(16, 16, 32)),
            encoder=dict(_delete_=True, feedforward_channels=16), decoder=dict(num_layers=2, feedforward_channels=16),
            selection=dict(objectness_threshold=0.))))
    return cfg


def checkpoint_of(cfg, path, classes):
    init_default_scope('mmdet3d')
    torch.manual_seed(0)
    model = MODELS.build(cfg.model)
    meta = dict() if classes is None else dict(dataset_meta=dict(classes=classes))
    torch.save(dict(state_dict=model.state_dict(), meta=meta), path)
    return str(path)


@pytest.mark.parametrize('name, classes', [
    ('opendlign_tiny_scannet', SHAPES), ('3detr_m_scannet', None), ('3detr_m_sunrgbd', None)])
def test_a_room_from_file_to_boxes(name, classes, room, tmp_path):
    cfg = scenes_config(name)
    inferencer = LidarDet3DInferencer(cfg, checkpoint_of(cfg, tmp_path / 'model.pth', classes), device='cpu')
    found = inferencer(dict(points=room), out_dir=str(tmp_path / 'out'), return_vis=True, pred_score_thr=0.)
    prediction, = found['predictions']
    assert prediction == json.loads((tmp_path / 'out/preds/room.json').read_text())
    assert prediction['box_type_3d'] == 'Depth' and len(prediction['bboxes_3d']) > 0
    assert np.isfinite(prediction['bboxes_3d']).all() and found['visualization'][0].shape[0] == 11800
    # Labels index these names, for the figure too.
    names = inferencer.model.dataset_meta['classes']
    assert len(names) == (10 if name == '3detr_m_sunrgbd' else 18) and max(prediction['labels_3d']) < len(names)
    assert inferencer.visualizer.dataset_meta['classes'] == names
    if name == 'opendlign_tiny_scannet':
        assert names == inferencer.model.class_names and 'shower curtain' in names
    image = Visualizer.get_current_instance().get_image()
    assert image.std() > 1, 'the figure is not empty'
    # An array, as of a camera, and several at once.
    points = np.fromfile(room, dtype=np.float32).reshape(-1, 6)
    again = inferencer([dict(points=points)])['predictions'][0]
    assert again['labels_3d'] == prediction['labels_3d'] or name != 'opendlign_tiny_scannet'  # 3DETR samples points


def test_predictions_of_scenes_say_of_which_type_their_boxes_are(room, tmp_path):
    cfg = scenes_config('opendlign_tiny_scannet')
    inferencer = LidarDet3DInferencer(cfg, checkpoint_of(cfg, tmp_path / 'model.pth', SHAPES), device='cpu')
    sample, = inferencer.forward(next(iter(inferencer.preprocess([dict(points=room)]))))
    assert sample.box_mode_3d == Box3DMode.DEPTH and isinstance(sample.pred_instances_3d.bboxes_3d,
                                                                DepthInstance3DBoxes)
    assert sample.class_names == inferencer.model.class_names
