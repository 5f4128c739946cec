"""configs/mixing: components of this package in detectors and datasets that are mmdet3d's, trained and tested."""
import numpy as np
import pytest
import torch
from mmdet3d.registry import DATASETS
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.runner import Runner

from helpers.tiny_clip import TINY_BACKBONE, TINY_CLIP
from helpers.tiny_runs import scalars
from helpers.tool_modules import REPOSITORY
from opendlign_mm.config_options import move_path
from opendlign_mm.datasets.procedural.room_writer import write_rooms

CONFIG = REPOSITORY / 'configs/mixing/pillars_clip_depth_view_scannet-3d.py'


@pytest.fixture(scope='module')
def data_root(tmp_path_factory):
    folder = tmp_path_factory.mktemp('rooms')
    write_rooms(folder, num_train=2, num_val=1, num_points=8000)
    return folder


@pytest.fixture
def config(data_root, tmp_path) -> Config:
    """The example with a random CLIP, in this process, for one short epoch."""
    config = Config.fromfile(CONFIG)
    move_path(config, 'data_root', str(data_root))
    config.model.img_backbone = dict(TINY_BACKBONE, output='feature_map', resize=True)
    width = TINY_CLIP['vision_cfg']['width']
    config.merge_from_dict({
        'model.pts_voxel_encoder.fusion_layer.img_channels': width, 'train_dataloader.num_workers': 0,
        'train_dataloader.batch_size': 2, 'train_dataloader.dataset.times': 4, 'train_cfg.max_epochs': 1,
        'val_dataloader.num_workers': 0, 'test_dataloader.num_workers': 0, 'default_hooks.logger.interval': 1,
        'default_hooks.checkpoint.interval': 1, 'param_scheduler.0.T_max': 1, 'work_dir': str(tmp_path / 'run'),
        'experiment_name': str(tmp_path), 'randomness': dict(seed=0)})
    init_default_scope('mmdet3d')
    return config


def test_detector_trains_and_detects(config, tmp_path):
    runner = Runner.from_cfg(config)
    attention = runner.model.img_backbone.tuned_blocks[0].attn.in_proj_weight
    before = attention.detach().clone()
    runner.train()
    losses = scalars(tmp_path / 'run')
    assert len(losses) == 4
    for row in losses.values():
        assert np.isfinite(row['loss']) and row['loss_cls'] > 0 and row['loss_bbox'] > 0
    assert losses[1, 4]['loss'] < losses[1, 1]['loss']
    assert not torch.equal(attention, before), 'the gradient of the boxes reaches the tuned block'
    metrics = runner.test()
    assert {'mAP_0.25', 'mAR_0.50'} <= set(metrics) and 0 <= metrics['mAP_0.25'] <= 1

    # The checkpoint of this foreign detector names its CLIP and does not hold it.
    state = torch.load(tmp_path / 'run/epoch_1.pth')['state_dict']
    assert 'img_backbone.clip_identity' in state and not any('img_backbone.clip.' in key for key in state)


def test_points_meet_their_own_pixels_after_augmentation(config):
    """mmdet3d's point_sample finds the same pixel for a point before and after flips, rotations and scaling."""
    from mmdet3d.models.layers.fusion_layers.point_fusion import point_sample
    pipeline = [step for step in config.train_pipeline if step.type != 'PointShuffle']
    still = [step for step in pipeline if step.type not in ('RandomFlip3D', 'GlobalRotScaleTrans')]
    always = dict(flip_ratio_bev_horizontal=1., flip_ratio_bev_vertical=1.)
    moving = [dict(step, **always) if step.type == 'RandomFlip3D' else step for step in pipeline]
    sampled = []
    for steps in (still, moving):
        dataset = DATASETS.build(dict(config.train_dataloader.dataset.dataset, pipeline=steps))
        item = dataset[0]
        image, points = item['inputs']['img'], item['inputs']['points'][:, :3]
        meta = item['data_samples'].metainfo
        sampled.append((points, point_sample(
            meta, image[None, :1].float(), points, points.new_tensor(meta['depth2img']), 'DEPTH', img_scale_factor=1,
            img_crop_offset=0, img_flip=meta.get('flip', False), img_pad_shape=image.shape[-2:],
            img_shape=meta['img_shape'])))
    (points, pixels), (moved, pixels_of_moved) = sampled
    assert not torch.allclose(points, moved, atol=.1)
    assert (pixels < 250).float().mean() > .95, 'points appear where the depth view shows something'
    # A flipped image is sampled half a pixel off; nearly everywhere that is the same surface.
    assert ((pixels - pixels_of_moved).abs() < 8).float().mean() > .9


def test_features_of_the_depth_view_reach_the_boxes(config):
    """Another image of the same points gives the boxes other scores."""
    runner = Runner.from_cfg(config)
    model, batch = runner.model.eval(), next(iter(runner.test_dataloader))
    scores = []
    for value in (0, 255):
        batch['inputs']['img'] = [torch.full_like(image, value) for image in batch['inputs']['img']]
        data = model.data_preprocessor(batch)
        metas = [sample.metainfo for sample in data['data_samples']]
        with torch.no_grad():
            scores.append(model.pts_bbox_head(model.extract_feat(data['inputs'], metas)[1])[0][0])
    assert not torch.allclose(*scores)
