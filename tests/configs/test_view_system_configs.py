"""The configs of PointCLIP, PointCLIP V2 and CLIP2Point run from points to metrics, and train, with small models."""
import copy

import pytest
import torch
from mmengine.config import Config
from mmengine.runner import Runner

from helpers.tiny_clip import TINY_CLIP
from helpers.tool_modules import REPOSITORY
from opendlign_mm.apis import init_model
from opendlign_mm.models import CLIPDepthBackbone
from opendlign_mm.models.pixels import clip_pixel_statistics
from opendlign_mm.projection import build_projection

SHAPES = dict(type='BuiltInShapes', num_per_category=2, categories=['chair', 'lamp', 'cup'], num_points=600)


def small(name, work_dir, **options):
    """Return a config on built-in shapes with a random CLIP of 32 x 32 pixels."""
    config = Config.fromfile(REPOSITORY / f'configs/baselines/{name}.py')
    config.model.backbone.update(clip='tiny', model_config=copy.deepcopy(TINY_CLIP), pretrained=None, resize=True)
    config.model.zero_shot_head.update(text_cache_dir=None)
    for loader in ('train_dataloader', 'test_dataloader'):
        if loader not in config:
            continue
        config[loader].update(num_workers=0, batch_size=4)
        node = config[loader]
        while 'dataset' in node.dataset:
            node = node.dataset
        pipeline = [with_small_views(step) for step in node.dataset.pipeline]
        node.dataset = dict(SHAPES, split=loader.removesuffix('_dataloader'), pipeline=pipeline)
    config.update(work_dir=str(work_dir), load_from=None, experiment_name=str(work_dir), **options)
    config.pop('cache_dir', None)
    return config


def with_small_views(step):
    step = copy.deepcopy(step.to_dict() if hasattr(step, 'to_dict') else dict(step))
    if step['type'] == 'LoadShapePoints':
        return dict(type='LoadBuiltInShape')
    if step['type'] == 'DiskCache':
        step.update(cache_dir=None, transforms=[with_small_views(inner) for inner in step['transforms']])
    projection = step.get('projection')
    if projection is not None and projection.get('type') != 'RealisticProjection':
        projection['resolution'] = 48
    return step


def test_clip_gets_the_pixels_of_the_released_code():
    """PointCLIP: depths, which the projection divides; V2: its maps as they are; CLIP2Point: CLIP's normalization."""
    for name in ('pointclip_rn50', 'pointclip_rn101_few_shot'):
        config = Config.fromfile(REPOSITORY / f'configs/baselines/{name}.py')
        project = build_projection(config.test_dataloader.dataset.pipeline[2].projection)
        backbone, views = dict(small(name, 'unused').model.backbone), torch.rand(2, 3, 32, 32)
        backbone.pop('type')
        torch.testing.assert_close(CLIPDepthBackbone(**backbone)._normalized(views), views * project.max_depth)
        assert not project.normalize and project.num_views == (6 if name == 'pointclip_rn50' else 10)
    assert Config.fromfile(REPOSITORY / 'configs/baselines/pointclip_v2_b16.py').model.backbone.pixel_mean is None
    backbone = Config.fromfile(REPOSITORY / 'configs/baselines/clip2point_b32.py').model.backbone
    assert clip_pixel_statistics(backbone.clip, backbone.pretrained, {}) == (backbone.pixel_mean, backbone.pixel_std)


@pytest.mark.parametrize('name', [
    'pointclip_rn50', 'pointclip_v2_b16', 'clip2point_b32', 'pointclip_rn101_few_shot', 'clip2point_b32_few_shot',
    'pointclip_tiny', 'clip2point_tiny'])
def test_configs_classify(tmp_path, name):
    metrics = Runner.from_cfg(small(name, tmp_path)).test()
    assert metrics['zero_shot/num_samples'] == 6 and 0 <= metrics['zero_shot/top1'] <= 100


@pytest.mark.parametrize('name, rate', [('pointclip_rn101_few_shot', .05), ('clip2point_b32_few_shot', 5e-3),
                                        ('clip2point_b32', 5e-3), ('pointclip_tiny_few_shot', .05),
                                        ('clip2point_tiny_few_shot', 5e-3)])
def test_losses_of_configs_fall(tmp_path, name, rate):
    """Steps on one batch: what the config trains lowers its own loss, and only that changes."""
    torch.manual_seed(0)
    config = small(name, tmp_path)
    runner = Runner.from_cfg(config)
    runner.call_hook('before_run')
    model = runner.model.train()
    runner.train_loop
    for hook in runner.hooks:
        if type(hook).__name__ == 'VocabularyFromDatasetHook':
            hook.before_train_epoch(runner)
    batch = next(iter(runner.train_dataloader))
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.
    before = {key: value.clone() for key, value in model.named_parameters()}
    optimizer = torch.optim.AdamW([value for value in model.parameters() if value.requires_grad], lr=rate)
    losses = []
    for _ in range(4):
        data = model.data_preprocessor(batch, True)
        total, _ = model.parse_losses(model(**data, mode='loss'))
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        losses.append(float(total))
    assert losses[-1] < losses[0] - .02, losses
    changed = {key.split('.')[0] + '.' + key.split('.')[1] if '.' in key else key
               for key, value in model.named_parameters() if not torch.equal(value, before[key])}
    adapted = {f'adapter.{part}' for part in ('fusion', 'hidden', 'expand', 'tuned', 'pretrained')}
    if 'few_shot' in name:
        assert changed and changed <= adapted
    else:
        assert changed == {'backbone.tuned_visual', 'depth_weight'}


def test_a_run_of_pretraining_and_adapter(tmp_path):
    """Two trainings with the Runner, Lamb and the schedules of the configs; the second starts from the first."""
    config = small('clip2point_tiny', tmp_path / 'first')
    config.train_cfg.max_epochs = 1
    Runner.from_cfg(config).train()
    tower = init_model(config, tmp_path / 'first/epoch_1.pth').backbone.tuned_visual.state_dict()
    adapter = small('clip2point_tiny_few_shot', tmp_path / 'second')
    adapter.train_cfg.max_epochs = 1
    adapter.load_from = str(tmp_path / 'first/epoch_1.pth')
    adapter.default_hooks.checkpoint.interval = 1
    Runner.from_cfg(adapter).train()
    model = init_model(adapter, tmp_path / 'second/epoch_1.pth')
    assert all(torch.equal(value, model.backbone.tuned_visual.state_dict()[key]) for key, value in tower.items())
    tested = small('clip2point_tiny_few_shot', tmp_path / 'third')
    tested.load_from = str(tmp_path / 'second/epoch_1.pth')
    metrics = Runner.from_cfg(tested).test()
    assert {'zero_shot/top1', 'zero_shot/top1_frozen'} <= set(metrics)
