"""The configs of 3DETR train and test on scenes in mmdet3d's own formats."""
import argparse
import pickle

import numpy as np
import pytest
import torch
from mmdet3d.registry import MODELS
from mmengine.config import Config
from mmengine.model import convert_sync_batchnorm
from mmengine.registry import init_default_scope
from mmengine.runner import Runner

from helpers.tool_modules import REPOSITORY, load_tool
from opendlign_mm import compat
from opendlign_mm.datasets.procedural.room_writer import write_rooms

SMALL = dict(
    set_abstraction=dict(num_points=64, num_samples=8, channels=(16, 16, 32)),
    encoder=dict(feedforward_channels=16, downsampling=dict(num_points=32, num_samples=8, channels=(32, 32))),
    decoder=dict(num_layers=2, feedforward_channels=16))


@pytest.fixture(scope='module')
def rooms(tmp_path_factory):
    folder = tmp_path_factory.mktemp('rooms')
    write_rooms(folder, num_train=2, num_val=1, num_points=3000)
    return folder


@pytest.fixture(scope='module')
def sunrgbd(tmp_path_factory):
    """Write two scenes with rotated boxes in the layout of SUN RGB-D."""
    folder = tmp_path_factory.mktemp('sunrgbd')
    (folder / 'points').mkdir()
    rng = np.random.default_rng(0)
    infos = []
    for number in range(2):
        points = rng.uniform([-2, 0, 0, 0, 0, 0], [2, 5, 2, 1, 1, 1], (3000, 6)).astype(np.float32)
        points.tofile(folder / 'points' / f'{number:06d}.bin')
        boxes = np.concatenate([rng.uniform([-2, 0, 0], [2, 5, 2], (4, 3)), rng.uniform(.5, 1.5, (4, 3)),
                                rng.uniform(-3, 3, (4, 1))], axis=1)
        images = dict(CAM0=dict(img_path=f'{number:06d}.jpg', depth2img=np.eye(3).tolist(), height=530, width=730))
        infos.append(dict(lidar_points=dict(num_pts_feats=6, lidar_path=f'{number:06d}.bin'), images=images,
                          instances=[dict(bbox_3d=box.tolist(), bbox_label_3d=int(rng.integers(10)), bbox=[0, 0, 9, 9],
                                          bbox_label=0) for box in boxes]))
    names = ('bed', 'table', 'sofa', 'chair', 'toilet', 'desk', 'dresser', 'night_stand', 'bookshelf', 'bathtub')
    metainfo = dict(categories={name: index for index, name in enumerate(names)}, dataset='sunrgbd', info_version='1.1')
    for split in ('train', 'val'):
        (folder / f'sunrgbd_infos_{split}.pkl').write_bytes(pickle.dumps(dict(metainfo=metainfo, data_list=infos)))
    return folder


def small_config(name, folder, work_dir):
    """Return a config of ``configs`` with a small model, on the scenes in ``folder``."""
    cfg = Config.fromfile(REPOSITORY / f'configs/{name}.py')
    small = dict(SMALL) if name != '3detr_scannet' else dict(SMALL, encoder=dict(feedforward_channels=16))
    cfg.merge_from_dict(dict(model=dict(small, num_queries=16), train_cfg=dict(max_epochs=1, val_interval=1)))
    for loader in (cfg.train_dataloader, cfg.val_dataloader, cfg.test_dataloader):
        loader.update(num_workers=0, persistent_workers=False)
    cfg.train_dataloader.batch_size = 2
    for dataset in (cfg.train_dataloader.dataset.dataset, cfg.val_dataloader.dataset, cfg.test_dataloader.dataset):
        dataset.data_root = f'{folder}/'
        for transform in dataset.pipeline:
            if transform.type == 'PointSample':
                transform.num_points = 1500
            elif transform.type == 'RandomCuboid':
                transform.min_points = 1000
    cfg.work_dir = cfg.experiment_name = str(work_dir)
    cfg.default_hooks.logger.interval = 1
    return cfg


@pytest.mark.parametrize('name', ['3detr_m_scannet', '3detr_scannet', '3detr_m_rooms', '3detr_m_sunrgbd'])
def test_one_epoch_and_its_validation(name, rooms, sunrgbd, tmp_path):
    cfg = small_config(name, sunrgbd if 'sunrgbd' in name else rooms, tmp_path)
    runner = Runner.from_cfg(cfg)
    before = {key: value.clone() for key, value in runner.model.state_dict().items()}
    runner.train()
    same = {key for key, value in runner.model.named_parameters() if torch.equal(value, before[key])}
    # A single angle bin leaves nothing to learn about it.
    assert all(key.startswith('branches.angle_cls.') for key in same) and (cfg.model.num_angle_bins == 1 or not same)
    points = next(iter(runner.train_dataloader))['inputs']['points']
    assert all(scene.shape == (1500, 3) for scene in points)
    np.random.seed(0)  # the pipeline samples points
    metrics = runner.val_loop.run()
    assert ('mAP_0.25' in metrics) == (name != '3detr_m_rooms')
    found = []  # the best IoU of each annotated box, by mmdet3d's own function
    np.random.seed(0)
    for batch in runner.val_dataloader:
        for sample in runner.model.val_step(batch['batch']):
            boxes, truth = sample.proposals_3d.bboxes_3d, sample.eval_ann_info['gt_bboxes_3d']
            found += boxes.overlaps(boxes, truth).amax(dim=0).tolist() if len(boxes) else [0.] * len(truth)
    assert len(found) >= 4 and metrics['proposals/recall_0.25'] == np.mean(np.array(found) > .25)
    assert metrics['proposals/recall_0.50'] == np.mean(np.array(found) > .5)


def test_matching_and_losses_are_those_of_the_release():
    """Weights of 3DETR's scripts for ScanNet and SUN RGB-D, which differ in everything but the angle."""
    scannet, sunrgbd = (Config.fromfile(REPOSITORY / f'configs/3detr_m_{name}.py').model.criterion
                        for name in ('scannet', 'sunrgbd'))
    assert scannet.matcher == dict(cls=1, giou=2) and scannet.background_weight == .25
    assert scannet.weights == dict(cls=1, center=5, size=1, giou=1, angle_cls=.1, angle_residual=.5)
    assert sunrgbd.matcher == dict(cls=1, giou=3, center=5, objectness=5) and sunrgbd.background_weight == .1
    assert sunrgbd.weights == dict(cls=.8, center=5, size=1, giou=0, angle_cls=.1, angle_residual=.5)


@pytest.mark.parametrize('name', ['3detr_m_scannet', '3detr_scannet', '3detr_m_rooms', '3detr_m_sunrgbd'])
def test_batch_norm_is_synchronized_as_in_the_release(name):
    """mmengine converts it for several processes; entries of checkpoints keep their names."""
    cfg = Config.fromfile(REPOSITORY / f'configs/{name}.py')
    assert cfg.sync_bn == 'torch'
    init_default_scope('mmdet3d')
    model = MODELS.build(dict(cfg.model, **{key: SMALL[key] for key in ('set_abstraction', 'decoder')},
                              encoder=dict(feedforward_channels=16), num_queries=16))
    names, count = set(model.state_dict()), sum('running_mean' in key for key in model.state_dict())
    converted = convert_sync_batchnorm(model, cfg.sync_bn)
    assert sum(isinstance(module, torch.nn.SyncBatchNorm) for module in converted.modules()) == count > 10
    assert not any(type(module).__name__.startswith('BatchNorm') for module in converted.modules())
    assert set(converted.state_dict()) == names


@pytest.mark.skipif(torch.cuda.is_available(), reason='for machines without CUDA')
def test_sync_bn_is_left_out_without_cuda(monkeypatch):
    monkeypatch.setattr(torch.distributed, 'is_initialized', lambda: True)
    cfg, messages = Config(dict(sync_bn='torch', launcher='pytorch')), []
    monkeypatch.setattr(compat, 'print_log', lambda message, **options: messages.append(message))
    compat.prepare_cpu_distributed(cfg, 'pytorch')
    assert 'sync_bn' not in cfg and len(messages) == 1 and 'SyncBatchNorm needs CUDA' in messages[0]
    compat.prepare_cpu_distributed(cfg, 'pytorch')
    assert len(messages) == 1
    arguments = argparse.Namespace(amp=False, sync_bn='torch', auto_scale_lr=False, resume=None)
    with pytest.raises(ValueError, match='--sync_bn torch needs CUDA'):
        load_tool('train').apply_options(cfg, arguments)
    cfg = Config(dict(sync_bn='torch', launcher='pytorch'))
    load_tool('train').apply_options(cfg, argparse.Namespace(**dict(vars(arguments), sync_bn='none')))
    assert cfg.sync_bn is None


def test_unreadable_scenes_end_neither_an_epoch_nor_a_test(tmp_path):
    """Scenes without points, with NaN, truncated, of one point, of fewer points than are sampled, without boxes."""
    write_rooms(tmp_path / 'rooms', num_train=6, num_val=5, num_points=3000)

    def damage(name, change):
        path = tmp_path / f'rooms/points/{name}.bin'
        points = np.fromfile(path, dtype=np.float32).reshape(-1, 6)
        np.asarray(change(points), dtype=np.float32).tofile(path)

    changes = [lambda points: points[:0], lambda points: points * np.nan, lambda points: points[:1],
               lambda points: points[:50]]
    for number, change in enumerate(changes):
        damage(f'room_train_{number:04d}', change)
        damage(f'room_val_{number:04d}', change)
    damage('room_val_0002', lambda points: points.flatten()[:-1])
    path = tmp_path / 'rooms/scannet_infos_train.pkl'
    infos = pickle.loads(path.read_bytes())
    infos['data_list'][4]['instances'] = []
    path.write_bytes(pickle.dumps(infos))

    runner = Runner.from_cfg(small_config('3detr_m_scannet', tmp_path / 'rooms', tmp_path / 'run'))
    before = {key: value.clone() for key, value in runner.model.state_dict().items()}
    runner.train()
    assert all(torch.isfinite(value).all() for value in runner.model.state_dict().values())
    assert any(not torch.equal(value, before[key]) for key, value in runner.model.named_parameters())
    metrics = runner.test()
    assert np.isfinite(list(metrics.values())).all()
    log, = (tmp_path / 'run').rglob('*.log')
    log = log.read_text()
    for problem in ('room_train_0000.bin: there are no points', 'room_train_0001.bin: 3000 of 3000 points have',
                    '3 of 5 samples could not be read'):
        assert problem in log
    for loop in (runner.val_loop, runner.test_loop):
        wanted = ('0.bin: there are no', '1.bin: 3000 of 3000', '2.bin: cannot resh')
        for record, beginning in zip(loop.unreadable, wanted, strict=True):
            assert f'room_val_000{beginning}' in str(record)
    assert metrics['unreadable'] == metrics['proposals/unreadable'] == 3


def test_a_test_of_unreadable_scenes_alone_is_an_error(tmp_path):
    write_rooms(tmp_path / 'rooms', num_train=1, num_val=1, num_points=3000)
    (tmp_path / 'rooms/points/room_val_0000.bin').write_bytes(b'')
    runner = Runner.from_cfg(small_config('3detr_m_scannet', tmp_path / 'rooms', tmp_path / 'run'))
    with pytest.raises(ValueError, match='none of the 1 samples can be read.*room_val_0000.bin: there are no points'):
        runner.test()
