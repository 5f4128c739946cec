"""Stored tokens: the training that they replace, made once, by several processes, for one CLIP and one set of data."""
import json
import os
from types import SimpleNamespace

import pytest
import torch
from mmdet3d.registry import MODELS
from mmengine.runner import Runner

from helpers.gloo_processes import run_in_processes
from helpers.tiny_runs import scalars, tiny_config, tiny_model, tiny_model_config
from opendlign_mm.datasets.stored_tokens import StoredTokens
from opendlign_mm.engine import StoredTokensHook, data_wait
from opendlign_mm.engine.stored_tokens import check_model, encode_frozen_part


def config_with(work_dir, root, hook=None, views=True, **options):
    """Config of a run of two epochs; the pipeline may take one of two views at random after the stored part."""
    config = tiny_config(work_dir, augment=False, **options)
    if views:
        config.train_dataloader.dataset.pipeline.insert(-1, dict(type='SampleViews', num_views=1))
    config.custom_hooks.append(dict(type='StoredTokensHook', root=None if root is None else str(root), **(hook or {})))
    return config


def losses(config) -> list[float]:
    Runner.from_cfg(config).train()
    return [row['loss'] for _, row in sorted(scalars(config.work_dir).items())]


@pytest.fixture(scope='module')
def plain(tmp_path_factory) -> list[float]:
    """Losses of the training without stored tokens."""
    return losses(config_with(tmp_path_factory.mktemp('plain'), None))


@pytest.fixture(scope='module')
def filled(tmp_path_factory):
    """A folder with the tokens of the training in float32, in several files, and the losses of that training."""
    root = tmp_path_factory.mktemp('tokens')
    return root, losses(config_with(root / 'run', root / 'store', dict(dtype='fp32', shapes_per_shard=5)))


def files_of(root) -> dict:
    return {path: path.stat().st_mtime_ns for path in root.rglob('*.safetensors')}


def test_a_training_on_tokens_in_float32_has_the_losses_of_one_without(plain, filled):
    assert len(plain) == 6 and len(set(plain)) == 6
    assert filled[1] == pytest.approx(plain, abs=1e-5)


def test_in_bfloat16_the_losses_differ_by_rounding(plain, tmp_path):
    found = losses(config_with(tmp_path, tmp_path / 'store'))
    assert found == pytest.approx(plain, rel=.02) and found != pytest.approx(plain, abs=1e-6)


def test_a_second_run_makes_nothing_and_an_interrupted_one_only_what_is_missing(filled, tmp_path, monkeypatch):
    root, expected = filled
    before = files_of(root)
    assert len(before) == 3, '12 objects, five in a file'
    made = []
    own_write = StoredTokens.write
    monkeypatch.setattr(StoredTokens, 'write', lambda self, shard, *rest: made.append(shard) or own_write(
        self, shard, *rest))
    options = dict(dtype='fp32', shapes_per_shard=5)
    assert losses(config_with(tmp_path / 'again', root / 'store', options)) == expected
    assert not made and files_of(root) == before
    paths = sorted(before)
    paths[1].unlink()
    paths[2].write_bytes(paths[2].read_bytes()[:100])
    assert losses(config_with(tmp_path / 'third', root / 'store', options)) == expected
    assert made == [1, 2]


def test_a_resumed_training_goes_on_with_the_same_losses(filled, tmp_path):
    root, expected = filled
    config = config_with(tmp_path, root / 'store', dict(dtype='fp32', shapes_per_shard=5))
    config.update(resume=True, load_from=str(root / 'run/epoch_1.pth'))
    assert losses(config) == pytest.approx(expected[3:], abs=1e-6)


@pytest.mark.parametrize('change', [dict(random_seed=9), dict(combine='direct')])
def test_another_clip_or_another_tuned_branch_gets_its_own_tokens(filled, tmp_path, change):
    root, _ = filled
    before = set(files_of(root))
    config = config_with(tmp_path, root / 'store', epochs=1)
    config.model.backbone.update(change)
    losses(config)
    new = set(files_of(root)) - before
    assert new and len({path.parent for path in new}) == 1 and not {path.parent for path in before} & {
        path.parent for path in new}


def test_random_and_unknown_transforms_are_refused_by_name(tmp_path):
    config = tiny_config(tmp_path, augment=True)
    config.custom_hooks.append(dict(type='StoredTokensHook', root=str(tmp_path / 'store')))
    with pytest.raises(ValueError, match='tokens cannot be stored with RandomYaw in the pipeline'):
        Runner.from_cfg(config).train()
    assert not (tmp_path / 'store').exists()


@pytest.mark.parametrize('change, message', [
    (dict(combine='shared'), "not combine='shared'"), (dict(num_blocks=0), 'num_blocks >= 1')])
def test_models_that_train_more_or_nothing_are_refused(change, message):
    model = tiny_model()
    for name, value in change.items():
        setattr(model.backbone, name, value)
    with pytest.raises(ValueError, match=message):
        check_model(model)


def test_a_folder_above_its_limit_is_refused_before_it_is_filled(tmp_path):
    with pytest.raises(ValueError, match=r'the tokens would take 0\.0 GB; .* with a limit of 1e-06 GB.*raise limit_gb'):
        Runner.from_cfg(config_with(tmp_path, tmp_path / 'store', dict(limit_gb=1e-6))).train()
    assert not files_of(tmp_path)


def test_the_log_has_the_share_of_time_spent_waiting_for_data(monkeypatch):
    times, lines = iter([0, 3, 4, 5, 8, 10]), []
    monkeypatch.setattr(data_wait, 'time', SimpleNamespace(perf_counter=lambda: next(times)))
    runner = SimpleNamespace(logger=SimpleNamespace(info=lines.append))
    hook = data_wait.DataWaitHook()
    hook.before_train_epoch(runner)
    for batch in range(2):  # waits of 3 and 1 s, steps of 1 and 3 s, and 2 s of other hooks
        hook.before_train_iter(runner, batch)
        hook.after_train_iter(runner, batch)
    hook.after_train_epoch(runner)
    assert len(lines) == 1
    assert lines[0].startswith('4.0 of 10.0 s of this epoch (40%) were spent waiting for data; more train_dataloader')


def test_a_validation_within_an_epoch_is_not_waiting(monkeypatch):
    times, lines = iter([0, 1, 2, 10, 16, 17, 20, 21, 23, 24]), []
    monkeypatch.setattr(data_wait, 'time', SimpleNamespace(perf_counter=lambda: next(times)))
    runner = SimpleNamespace(logger=SimpleNamespace(info=lines.append))
    hook = data_wait.DataWaitHook()
    hook.before_train_epoch(runner)
    hook.before_train_iter(runner, 0)  # 1 s waited
    hook.after_train_iter(runner, 0)  # at 2
    hook.before_val_epoch(runner)  # at 10, to 20
    hook.before_val_iter(runner, 0)  # 6 s waited
    hook.after_val_iter(runner, 0)
    hook.after_val_epoch(runner)
    hook.before_train_iter(runner, 1)  # at 21: 19 s since the last step without the 10 of the validation
    hook.after_train_iter(runner, 1)
    hook.after_train_epoch(runner)  # at 24
    assert lines[0].startswith('6.0 of 10.0 s of this validation (60%) were spent waiting for data; more val_')
    assert lines[1].startswith('10.0 of 14.0 s of this epoch (71%)')


def test_wrong_options():
    with pytest.raises(ValueError, match="dtype of stored tokens must be 'bf16' or 'fp32', got 'fp16'"):
        StoredTokensHook(dtype='fp16')
    with pytest.raises(ValueError, match='limit_gb must be > 0'):
        StoredTokensHook(limit_gb=0)


def test_two_processes_share_the_work_and_read_the_same(tmp_path):
    def train(rank: int) -> list[str]:
        config = config_with(tmp_path / f'run{rank}', tmp_path / 'store', dict(dtype='fp32', shapes_per_shard=5))
        made = []
        own_write = StoredTokens.write
        StoredTokens.write = lambda self, shard, *rest: made.append(shard) or own_write(self, shard, *rest)
        runner = Runner.from_cfg(config)
        next(hook for hook in runner.hooks if isinstance(hook, StoredTokensHook)).before_train(runner)
        assert runner.train_dataloader.dataset[11]['inputs']['depth_tokens'].dtype == torch.float32
        return made

    assert run_in_processes(train, 2) == [[0, 2], [1]]
    assert [path.name for path in sorted(files_of(tmp_path))] == [f'{shard:06d}.safetensors' for shard in range(3)]


@pytest.mark.parametrize('batch_first', [True, False])
def test_tokens_give_the_embeddings_of_the_views(batch_first):
    model = tiny_model()
    backbone = model.backbone
    with torch.no_grad():
        for parameter in backbone.tuned_blocks.parameters():
            parameter += .05 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1))
    backbone.clip.visual.transformer.batch_first = batch_first
    for block in [*backbone.clip.visual.transformer.resblocks, *backbone.tuned_blocks]:
        block.attn.batch_first = batch_first
    views = torch.rand(5, 32, 32, generator=torch.Generator().manual_seed(2))
    images = (torch.rand(5, 32, 32, 3) * 255).byte()
    objects = [dict(sample_id=name, depth_views=part, images=images) for name, part in (('a', views), ('b', 1 - views))]
    model.encode_batch_size = 4  # objects in several passes
    entries = {name: value[0] for name, value in encode_frozen_part(model, objects).items()}
    assert entries['depth_tokens'].shape[0] == entries['depth_pretrained'].shape[0] == 5
    expected = model.encode_views(images.permute(0, 3, 1, 2)[None], 'pretrained')[0]
    torch.testing.assert_close(entries['image_features'], expected, atol=1e-5, rtol=1e-5)
    expected = backbone(views[:, None].expand(-1, 3, -1, -1), ('tuned', ))['tuned']
    actual = backbone.encode_tokens(entries['depth_tokens'], entries['depth_pretrained'])
    torch.testing.assert_close(actual, expected, atol=1e-5, rtol=1e-5)
    with pytest.raises(ValueError, match="combine='residual' needs depth_pretrained"):
        backbone.encode_tokens(entries['depth_tokens'])


@pytest.mark.parametrize('combine', ['direct', 'multi_view'])
def test_tokens_give_the_losses_of_other_tuned_branches(combine):
    config = tiny_model_config()
    config['backbone']['combine'] = combine
    model = MODELS.build(config).train()
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter += .05 * torch.randn(parameter.shape, generator=generator)
    views = torch.rand(3, 4, 32, 32, generator=generator)
    images = torch.rand(3, 4, 3, 32, 32, generator=generator)
    objects = [dict(depth_views=views[index], images=images[index].permute(0, 2, 3, 1)) for index in range(3)]
    entries = encode_frozen_part(model, objects)
    assert ('depth_pretrained' in entries) == (combine == 'multi_view')
    expected = model(dict(depth_views=views, images=images), mode='loss')
    torch.testing.assert_close(model(entries, mode='loss'), expected, atol=1e-5, rtol=1e-5)


def test_an_unreadable_object_is_named_or_skipped(tmp_path):
    store = StoredTokens.create(tmp_path, dict(clip='a'))
    store.write(0, {'a/b': dict(depth_tokens=torch.ones(2, 3))}, {'a/c': 'a/c.npy is empty'})
    store.index(1)
    assert torch.equal(store.of('a/b')['depth_tokens'], torch.ones(2, 3))
    with pytest.raises(ValueError, match='no tokens of a/c: a/c.npy is empty'):
        store.of('a/c')
    os.truncate(store.path(0), 50)
    with pytest.raises(ValueError, match='000000.safetensors is damaged'):
        store.of('a/b')
    with pytest.raises(ValueError, match='has tokens of another training'):
        StoredTokens.create(tmp_path, dict(clip='b'))
    assert json.loads((tmp_path / 'tokens.json').read_text()) == dict(clip='a')
