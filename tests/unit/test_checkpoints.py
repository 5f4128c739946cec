"""Checkpoint files are read whole and safely, or refused with their name; incomplete ones do not fit a model."""
import collections
import os
import random
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from mmdet3d.registry import MODELS
from mmengine.config import Config
from torch import nn

from opendlign_mm.apis import init_model, skip_weights_held_by
from opendlign_mm.engine.hooks import CheckpointGuardHook
from opendlign_mm.models import CLIPDepthBackbone, DepthImageContrastiveHead, OpenDlign
from opendlign_mm.models.checkpoints import UnreadableCheckpointError, load_checkpoint, read_checkpoint


class RunsCode:
    def __reduce__(self):
        return os.system, ('echo this must not run', )


@pytest.fixture
def stored(tmp_path):
    contents = dict(meta=dict(epoch=3), state_dict=collections.OrderedDict(w=torch.rand(30, 30), b=torch.zeros(3)))
    torch.save(contents, tmp_path / 'run.pth')
    return tmp_path / 'run.pth'


# ---------------------------------------------------------------- reading
@pytest.mark.parametrize('mmap', [False, True])
def test_a_checkpoint_is_read_as_it_was_written(stored, mmap):
    contents = read_checkpoint(stored, mmap)
    assert contents['meta'] == dict(epoch=3) and contents['state_dict']['b'].tolist() == [0, 0, 0]
    torch.save(dict(w=torch.ones(2)), stored, _use_new_zipfile_serialization=False)  # as before PyTorch 1.6
    assert read_checkpoint(stored, mmap)['w'].tolist() == [1, 1]


def test_damaged_files_are_refused_with_their_name_and_never_read_as_something_else(stored):
    whole, expected, rng, refused = stored.read_bytes(), read_checkpoint(stored), random.Random(0), 0
    for trial in range(150):
        damaged = bytearray(whole)
        if trial % 3 == 0:
            damaged = damaged[:rng.randrange(len(damaged))]
        elif trial % 3 == 1:
            damaged[rng.randrange(len(damaged))] ^= 1 << rng.randrange(8)
        else:
            start = rng.randrange(len(damaged) - 16)
            damaged[start:start + 16] = rng.randbytes(16)
        stored.write_bytes(damaged)
        try:
            contents = read_checkpoint(stored)  # damage in the padding between entries does no harm
        except UnreadableCheckpointError as error:
            assert 'run.pth is damaged' in str(error) and 'weights_only' not in str(error)
            assert '\n' not in str(error) and len(str(error)) < 500
            refused += 1
        else:
            assert contents['meta'] == expected['meta']
            torch.testing.assert_close(contents['state_dict'], expected['state_dict'], atol=0, rtol=0)
    assert refused > 130


@pytest.mark.parametrize('contents, message', [
    (dict(state_dict=RunsCode()), 'run.pth refers to .*system.*cannot be read safely'),
    (dict(state_dict=nn.Linear(2, 2)), 'run.pth refers to torch.nn.modules.linear.Linear'),
    (dict(names=np.array(['a'], dtype=object)), 'run.pth refers to numpy.*ObjectDType'),
    ([torch.ones(1)], 'run.pth is not a checkpoint: it holds a list'),
    (dict(state_dict=[torch.ones(1)]), 'run.pth is not a checkpoint: it holds a list'),
])
@pytest.mark.parametrize('mmap', [False, True])
def test_other_contents_are_refused(stored, contents, message, mmap, capfd):
    torch.save(contents, stored)
    with pytest.raises(UnreadableCheckpointError, match=message) as error:
        read_checkpoint(stored, mmap)
    assert 'weights_only' not in str(error.value) and 'must not run' not in capfd.readouterr().out


@pytest.mark.parametrize('content', [b'', b'a text', b'PK', b'\x80\x02garbage'])
def test_what_is_not_a_checkpoint_at_all(stored, content):
    stored.write_bytes(content)
    with pytest.raises(UnreadableCheckpointError, match='run.pth is damaged or not a checkpoint'):
        read_checkpoint(stored)
    with pytest.raises(UnreadableCheckpointError, match='run.pth'):
        skip_weights_held_by(stored, Config(dict(model=dict())))
    with pytest.raises(FileNotFoundError, match='none.pth does not exist'):
        read_checkpoint(stored.with_name('none.pth'))


# ---------------------------------------------------------------- completeness
def small(config, **options) -> OpenDlign:
    return OpenDlign(CLIPDepthBackbone('small', model_config=config, **options), DepthImageContrastiveHead('learnable'))


def test_complete_checkpoints_fit_for_each_purpose(tiny_clip_config):
    source, target = small(tiny_clip_config), small(tiny_clip_config)
    with torch.no_grad():
        source.backbone.tuned_blocks[0].attn.in_proj_bias.fill_(0.5)
    for purpose in ('inference', 'resume', 'initialization'):
        load_checkpoint(target, dict(state_dict=source.state_dict()), 'run.pth', purpose)
    assert target.backbone.tuned_blocks[0].attn.in_proj_bias.eq(0.5).all()
    load_checkpoint(target, {f'module.{key}': value for key, value in source.state_dict().items()}, 'run.pth')


@pytest.mark.parametrize('purpose', ['inference', 'resume', 'initialization'])
def test_incomplete_checkpoints_are_refused_with_the_names_of_the_entries(tiny_clip_config, purpose):
    whole = small(tiny_clip_config).state_dict()
    key = 'backbone.tuned_blocks.0.attn.out_proj.weight'
    absent = {name: value for name, value in whole.items() if name != key}
    for state_dict, message in [
        (absent, f'run.pth does not fit the model:\n  {key} is missing'),
        (dict(whole, **{key: torch.zeros(2, 3)}), rf'{key} has shape \(2, 3\) instead of \(64, 64\)'),
        (dict(whole, **{'backbone.tuned_blocks.0.extra': torch.zeros(1)}), 'tuned_blocks.0.extra has no place'),
        (small(tiny_clip_config, num_blocks=2).state_dict(), r'tuned_blocks.1.attn.in_proj_weight has no place'),
        (small(tiny_clip_config, num_blocks=0).state_dict(), f'{key} is missing'),
    ]:
        with pytest.raises(RuntimeError, match=message):
            load_checkpoint(small(tiny_clip_config), dict(state_dict=state_dict), 'run.pth', purpose)
    with pytest.raises(RuntimeError, match=r'tuned_blocks.1.attn.in_proj_weight is missing'):
        load_checkpoint(small(tiny_clip_config, num_blocks=2), dict(state_dict=whole), 'run.pth', purpose)


def test_only_resuming_needs_what_only_training_uses(tiny_clip_config):
    state_dict = small(tiny_clip_config).state_dict()
    del state_dict['alignment_head.logit_scale']
    for purpose in ('inference', 'initialization'):
        load_checkpoint(small(tiny_clip_config), state_dict, 'run.pth', purpose)
    with pytest.raises(RuntimeError, match='alignment_head.logit_scale is missing'):
        load_checkpoint(small(tiny_clip_config), state_dict, 'run.pth', 'resume')


def test_a_training_may_start_from_another_model_without_clip():
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    state_dict = {key: value for key, value in model.state_dict().items() if not key.startswith('1.')}
    load_checkpoint(model, state_dict, 'run.pth', 'initialization')
    with pytest.raises(RuntimeError, match='1.weight is missing\n  1.bias is missing'):
        load_checkpoint(model, state_dict, 'run.pth')


def test_another_clip_is_named_with_the_file(tiny_clip_config):
    state_dict = small(tiny_clip_config, random_seed=3).state_dict()
    with pytest.raises(RuntimeError, match=r"run.pth does not fit the model: .*seed 3.*built on CLIP 'small'.*seed 0"):
        load_checkpoint(small(tiny_clip_config), state_dict, 'run.pth')
    state_dict['backbone.clip_identity'] = torch.zeros(3, dtype=torch.uint8)
    with pytest.raises(RuntimeError, match='run.pth does not fit the model: the entry that names the CLIP'):
        load_checkpoint(small(tiny_clip_config), state_dict, 'run.pth')


def test_threads_build_models_one_after_the_other(tiny_clip_config, monkeypatch):
    config = Config(dict(model=dict(
        type='OpenDlign', backbone=dict(type='CLIPDepthBackbone', clip='small', model_config=tiny_clip_config))))
    build, at_once = MODELS.build, []

    def slow_build(*args, **kwargs):
        at_once.append(at_once[-1] + 1 if at_once else 1)
        time.sleep(0.05)
        model = build(*args, **kwargs)
        at_once.append(at_once[-1] - 1)
        return model

    monkeypatch.setattr(MODELS, 'build', slow_build)
    with ThreadPoolExecutor(4) as pool:
        models = list(pool.map(lambda seed: init_model(config, cfg_options={'model.backbone.random_seed': seed}),
                               range(4)))
    assert max(at_once) <= 2, 'the backbone is built within the model, and no other model meanwhile'
    assert [model.backbone.pretrained_label for model in models] == [f'random, seed {seed}' for seed in range(4)]
    assert 'random_seed' not in config.model.backbone, 'the config that was given is not changed'


def test_init_model_and_the_runner_refuse_incomplete_checkpoints(tiny_clip_config, tmp_path):
    config = Config(dict(model=dict(
        type='OpenDlign', backbone=dict(type='CLIPDepthBackbone', clip='small', model_config=tiny_clip_config))))
    whole = init_model(config).state_dict()
    key = 'backbone.tuned_blocks.0.attn.in_proj_bias'
    torch.save(dict(state_dict={name: value for name, value in whole.items() if name != key}), tmp_path / 'part.pth')
    with pytest.raises(RuntimeError, match=f'part.pth does not fit the model:\n  {key} is missing'):
        init_model(config, tmp_path / 'part.pth')
    torch.save(dict(state_dict=whole), tmp_path / 'whole.pth')
    init_model(config, tmp_path / 'whole.pth')

    class Run:
        model, _load_from, _resume, _train_loop = init_model(config), 'part.pth', False, dict(max_epochs=1)

    with pytest.raises(RuntimeError, match=f'part.pth does not fit the model:\n  {key} is missing'):
        CheckpointGuardHook().after_load_checkpoint(Run, torch.load(tmp_path / 'part.pth'))
    CheckpointGuardHook().after_load_checkpoint(Run, torch.load(tmp_path / 'whole.pth'))
