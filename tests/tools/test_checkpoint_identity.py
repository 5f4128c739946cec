"""Checkpoints hold what was trained and which CLIP it was trained on."""
import copy

import pytest
import torch
from mmengine.runner.checkpoint import get_state_dict, load_checkpoint, load_state_dict, save_checkpoint, weights_to_cpu
from torch import nn

from opendlign_mm.models import CLIPDepthBackbone, OpenDlign, ZeroShotHead
from opendlign_mm.models.trained_state import CLIPIdentity

TRAINED = ['attn.in_proj_weight', 'attn.in_proj_bias', 'attn.out_proj.weight', 'attn.out_proj.bias']


def small(config, **options) -> CLIPDepthBackbone:
    return CLIPDepthBackbone(options.pop('clip', 'small'), model_config=config, **options)


def train_a_little(module: nn.Module, seed: int = 0) -> nn.Module:
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            if parameter.requires_grad:
                parameter += 0.1 * torch.randn(parameter.shape, generator=generator)
    return module


class Detector(nn.Module):
    """A foreign model with the backbone two levels down and a layer of its own."""

    def __init__(self, backbone):
        super().__init__()
        self.encoder = OpenDlign(backbone, zero_shot_head=ZeroShotHead())
        self.neck = nn.Linear(4, 4)


def tuned(module: nn.Module, seed: int = 0) -> torch.Tensor:
    backbone = next(m for m in module.modules() if isinstance(m, CLIPDepthBackbone))
    with torch.no_grad():
        return backbone(torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(seed)))['tuned']


@pytest.mark.parametrize('state_of', [lambda m: m.state_dict(), get_state_dict], ids=['torch', 'mmengine'])
def test_state_dict_holds_what_is_trained_and_the_identity(tiny_clip_config, state_of):
    state = state_of(small(tiny_clip_config))
    assert sorted(state) == sorted([f'tuned_blocks.0.{name}' for name in TRAINED] + ['clip_identity'])
    assert state['clip_identity'].dtype == torch.uint8
    identity = CLIPIdentity.from_tensor(state['clip_identity'])
    assert (identity.name, identity.pretrained, len(identity.sha256)) == ('small', 'random, seed 0', 64)
    nested = state_of(Detector(small(tiny_clip_config)))
    assert sorted(nested) == sorted(['neck.weight', 'neck.bias'] + [f'encoder.backbone.{key}' for key in state])


@pytest.mark.parametrize('make', [lambda b: b, Detector], ids=['alone', 'nested'])
def test_plain_torch_round_trip(tiny_clip_config, make):
    source = train_a_little(make(small(tiny_clip_config)))
    target = make(small(tiny_clip_config))
    assert (tuned(source) - tuned(target)).abs().max() > 1e-3
    result = target.load_state_dict(source.state_dict(), strict=True)
    assert not result.missing_keys and not result.unexpected_keys
    assert torch.equal(tuned(source), tuned(target))


def test_mmengine_round_trip(tiny_clip_config, tmp_path, caplog):
    source = train_a_little(Detector(small(tiny_clip_config)))
    path = str(tmp_path / 'epoch_1.pth')
    save_checkpoint(dict(state_dict=weights_to_cpu(get_state_dict(source))), path)
    target = Detector(small(tiny_clip_config))
    load_checkpoint(target, path, strict=True)
    assert torch.equal(tuned(source), tuned(target))
    # mmengine's own walk over the modules, which reports instead of raising.
    load_state_dict(target, get_state_dict(source), strict=True)


def test_wrapped_for_data_parallel_training(tiny_clip_config):
    """mmengine's wrappers hold the model as ``module`` and remove that name from checkpoints."""
    from mmengine.model import is_model_wrapper
    from mmengine.registry import MODEL_WRAPPERS

    class Wrapper(nn.Module):
        def __init__(self, module):
            super().__init__()
            self.module = module

    MODEL_WRAPPERS.register_module(name='WrapperOfThisTest', module=Wrapper, force=True)
    source, target = train_a_little(small(tiny_clip_config)), Wrapper(small(tiny_clip_config))
    assert is_model_wrapper(target)
    load_state_dict(target, source.state_dict(), strict=True)
    assert torch.equal(tuned(source), tuned(target))
    assert sorted(get_state_dict(target)) == sorted(source.state_dict())
    target.load_state_dict({f'module.{key}': value for key, value in source.state_dict().items()})


@pytest.mark.parametrize('load', ['torch', 'mmengine'])
@pytest.mark.parametrize('make, strict', [(lambda b: b, True), (Detector, False)], ids=['alone', 'nested'])
def test_another_clip_is_an_error_that_names_both(tiny_clip_config, tmp_path, load, make, strict):
    source = make(train_a_little(small(tiny_clip_config)))
    wide = copy.deepcopy(tiny_clip_config)
    wide['vision_cfg']['width'] = 96
    for target in (make(small(wide, clip='wide')), make(small(tiny_clip_config, random_seed=7))):
        name = next(m for m in target.modules() if isinstance(m, CLIPDepthBackbone)).clip_name
        before = copy.deepcopy(target.state_dict())
        with pytest.raises(RuntimeError, match=rf"trained on CLIP 'small' .*seed 0.*built on CLIP '{name}'.*set the"):
            if load == 'torch':
                target.load_state_dict(source.state_dict(), strict=strict)
            else:
                path = str(tmp_path / 'checkpoint.pth')
                save_checkpoint(dict(state_dict=get_state_dict(source)), path)
                load_checkpoint(target, path, strict=strict)
        assert all(torch.equal(before[key], value) for key, value in target.state_dict().items()
                   if 'tuned_blocks' in key), 'nothing of it may have been loaded'


def test_same_names_with_other_weights(tiny_clip_config):
    source, target = small(tiny_clip_config), small(tiny_clip_config)
    with torch.no_grad():
        target.clip.visual.proj += 1
    with pytest.raises(RuntimeError, match='the names agree, the weights do not'):
        target.load_state_dict(source.state_dict())


def test_absent_keys_are_reported_unless_clip_holds_them(tiny_clip_config):
    state = small(tiny_clip_config).state_dict()
    target = small(tiny_clip_config)
    without_identity = {key: value for key, value in state.items() if key != 'clip_identity'}
    with pytest.raises(RuntimeError, match='Missing.*clip_identity'):
        target.load_state_dict(without_identity)
    incomplete = {key: value for key, value in state.items() if 'in_proj_bias' not in key}
    assert target.load_state_dict(incomplete, strict=False).missing_keys == ['tuned_blocks.0.attn.in_proj_bias']
    with pytest.raises(RuntimeError, match='Unexpected.*tuned_blocks.0.extra'):
        target.load_state_dict({**state, 'tuned_blocks.0.extra': torch.zeros(1)})
    with pytest.raises(ValueError, match='names the CLIP of a checkpoint is damaged'):
        target.load_state_dict({**state, 'clip_identity': torch.zeros(3, dtype=torch.uint8)})


def test_whole_state_dict_replaces_clip(tiny_clip_config):
    """A state dict with CLIP's weights (as the authors release them) defines the CLIP."""
    source, target = train_a_little(small(tiny_clip_config, random_seed=4)), small(tiny_clip_config)
    whole = {f'clip.{key}': value for key, value in source.clip.state_dict().items()}
    whole.update({f'tuned_blocks.{key}': value for key, value in source.tuned_blocks.state_dict().items()})
    target.clip_identity()  # taken before, so that a stale hash would show
    target.load_state_dict(whole, strict=True)
    assert torch.equal(tuned(source), tuned(target))
    assert target.clip_identity().sha256 == source.clip_identity().sha256
    assert target.clip_identity().pretrained == 'state dict'
    source.load_state_dict(target.state_dict(), strict=True)
    with pytest.raises(RuntimeError, match='Missing.*clip.visual.proj'):
        target.load_state_dict({key: value for key, value in whole.items() if key != 'clip.visual.proj'})


def test_frozen_parts_of_the_copy_that_differ_from_clip_are_kept(tiny_clip_config):
    source = train_a_little(small(tiny_clip_config))
    with torch.no_grad():
        source.tuned_blocks[0].mlp.c_fc.bias += 1
    state = source.state_dict()
    assert 'tuned_blocks.0.mlp.c_fc.bias' in state and 'tuned_blocks.0.mlp.c_fc.weight' not in state
    target = small(tiny_clip_config)
    target.load_state_dict(state, strict=True)
    assert torch.equal(tuned(source), tuned(target))
    # What a checkpoint does not hold comes from CLIP, not from the earlier state of the model.
    plain = train_a_little(small(tiny_clip_config), seed=1)
    target.load_state_dict(plain.state_dict(), strict=True)
    assert torch.equal(tuned(plain), tuned(target))


def test_all_blocks_trained(tiny_clip_config):
    source = train_a_little(small(tiny_clip_config, trainable='all', num_blocks=2))
    target = small(tiny_clip_config, trainable='all', num_blocks=2)
    target.load_state_dict(source.state_dict(), strict=True)
    assert torch.equal(tuned(source), tuned(target))
    with pytest.raises(RuntimeError, match='Unexpected'):
        small(tiny_clip_config, trainable='all').load_state_dict(source.state_dict())


def test_copies_and_empty_backbones(tiny_clip_config):
    source = train_a_little(small(tiny_clip_config))
    clone = copy.deepcopy(source)
    assert torch.equal(tuned(clone), tuned(source)) and clone.source_blocks()[0] is not source.source_blocks()[0]
    train_a_little(clone, seed=3)
    assert sorted(clone.state_dict()) == sorted(source.state_dict())
    source.load_state_dict(clone.state_dict())
    assert torch.equal(tuned(clone), tuned(source))
    frozen = small(tiny_clip_config, num_blocks=0)
    assert list(frozen.state_dict()) == ['clip_identity']
    frozen.load_state_dict(frozen.state_dict(), strict=True)


@pytest.mark.parametrize('trained, loaded, fits', [
    (dict(combine='direct'), {}, False), ({}, dict(combine='direct'), False),
    (dict(num_blocks=2, stacked=True), dict(num_blocks=2), False),
    (dict(combine='shared'), dict(combine='direct'), True), (dict(stacked=True), {}, True)])
def test_equal_entries_of_another_tuned_branch_are_refused(tiny_clip_config, trained, loaded, fits):
    state, target = small(tiny_clip_config, **trained).state_dict(), small(tiny_clip_config, **loaded)
    if fits:
        target.load_state_dict(state)
        return
    with pytest.raises(RuntimeError, match="tuned branch '.*set the backbone's combine, stacked and num_blocks"):
        target.load_state_dict(state)


def test_checkpoints_that_do_not_tell_their_branch_load(tiny_clip_config):
    source = small(tiny_clip_config)
    state = source.state_dict()
    state['clip_identity'] = source.clip_identity().to_tensor()  # as earlier versions wrote it
    assert b'tuning' not in bytes(state['clip_identity'].tolist())
    small(tiny_clip_config, combine='direct').load_state_dict(state)
