"""Precision of a CLIP's frozen weights: near float32, and no part of checkpoints, identities or trained parameters."""
import copy

import pytest
import torch
from torch._dynamo.utils import counters
from torch.nn.functional import cosine_similarity

from helpers.tool_modules import REPOSITORY
from opendlign_mm.config_options import read_config
from opendlign_mm.models import compiled_steps, image_branches, precision as precision_module
from opendlign_mm.models.clip_backbone import CLIPDepthBackbone
from opendlign_mm.models.precision import bfloat16_gain, resolve_precision

CPU = torch.device('cpu')


def small(tiny_clip_config, **options) -> CLIPDepthBackbone:
    return CLIPDepthBackbone('ViT-B-32', None, model_config=copy.deepcopy(tiny_clip_config), **options)


@pytest.fixture
def views() -> torch.Tensor:
    return torch.rand(6, 3, 32, 32, generator=torch.Generator().manual_seed(1))


def move_trained(backbone: CLIPDepthBackbone) -> None:
    """Move T' away from T, as training does."""
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in backbone.parameters():
            if parameter.requires_grad:
                parameter += 0.05 * torch.randn(parameter.shape, generator=generator)


@pytest.mark.parametrize('options', [dict(), dict(num_blocks=2), dict(combine='direct', stacked=True, num_blocks=2),
                                     dict(copy_init='random_block', trainable='all'), dict(num_blocks=0)])
def test_bfloat16_weights_give_the_embeddings_of_float32_up_to_rounding(tiny_clip_config, views, options):
    exact, fast = small(tiny_clip_config, **options), small(tiny_clip_config, precision='bf16', **options)
    fast.load_state_dict(exact.state_dict())
    move_trained(exact)
    move_trained(fast)
    expected, actual = exact(views), fast(views)
    assert next(fast.clip.visual.parameters()).dtype == torch.bfloat16
    for branch in exact.branches:
        assert actual[branch].dtype == torch.float32
        assert cosine_similarity(actual[branch], expected[branch]).min() > 0.999
        assert not torch.equal(actual[branch], expected[branch])
    chunked = fast(views, trunk_batch_size=4)
    torch.testing.assert_close(chunked, actual, atol=2e-2, rtol=2e-2)


def test_other_towers_have_a_precision_too(views):
    # A ResNet with BatchNorm and attention pool; a SigLIP of timm, with another pooling.
    config = dict(embed_dim=32, vision_cfg=dict(image_size=64, layers=[1, 1, 1, 1], width=16, head_width=32),
                  text_cfg=dict(context_length=77, vocab_size=49408, width=32, heads=2, layers=1))
    images = torch.rand(3, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    exact, fast = (CLIPDepthBackbone('RN50', None, model_config=config, precision=precision)
                   for precision in ('fp32', 'bf16'))
    for branch, expected in exact(images).items():
        assert cosine_similarity(fast(images)[branch], expected).min() > 0.999


def test_gradients_are_float32_and_those_of_float32_up_to_rounding(tiny_clip_config, views):
    exact, fast = small(tiny_clip_config).train(), small(tiny_clip_config, precision='bf16').train()
    target = torch.randn(6, 48, generator=torch.Generator().manual_seed(3))
    for backbone in (exact, fast):
        (1 - cosine_similarity(backbone(views, ('tuned', ))['tuned'], target)).sum().backward()
    trained = {name: parameter for name, parameter in fast.named_parameters() if parameter.requires_grad}
    assert len(trained) == 4
    for name, parameter in trained.items():
        expected = exact.get_parameter(name).grad
        assert parameter.dtype == parameter.grad.dtype == torch.float32
        assert cosine_similarity(parameter.grad.flatten(), expected.flatten(), dim=0) > 0.99, name


def test_autocast_changes_nothing_where_the_precision_is_given(tiny_clip_config, views):
    fast = small(tiny_clip_config, precision='bf16')
    expected = fast(views)
    with torch.autocast('cpu', dtype=torch.bfloat16):
        torch.testing.assert_close(fast(views), expected, atol=0, rtol=0)


@pytest.mark.parametrize('options', [dict(), dict(copy_init='random_block')])
def test_checkpoints_and_identities_do_not_depend_on_the_precision(tiny_clip_config, views, options):
    exact, fast = small(tiny_clip_config, **options), small(tiny_clip_config, precision='bf16', **options)
    start = exact.state_dict()
    fast.load_state_dict(start)
    fast(views)
    assert fast.clip_identity() == exact.clip_identity() and fast.text_encoder_key() == exact.text_encoder_key()
    assert fast.pretrained_branch_identity() == exact.pretrained_branch_identity()
    saved = fast.state_dict()
    assert saved.keys() == start.keys()
    assert all(saved[key].dtype == start[key].dtype and torch.equal(saved[key], start[key]) for key in start)
    texts = ['a chair', 'a lamp']
    torch.testing.assert_close(fast.encode_text(texts), exact.encode_text(texts), atol=0, rtol=0)


@pytest.mark.parametrize('copy_init', ['pretrained', 'random_block'])
def test_weights_loaded_after_the_first_pass_are_not_rounded(tiny_clip_config, views, copy_init):
    """A state dict with the whole CLIP, or with frozen entries of T' that are not those of T."""
    other = small(tiny_clip_config, random_seed=5, copy_init=copy_init)
    whole = {f'clip.{key}': value for key, value in other.clip.state_dict().items()}
    fast = small(tiny_clip_config, precision='bf16')
    fast(views)
    fast.load_state_dict({**whole, **other.state_dict()})
    assert fast.clip_identity().sha256 == other.clip_identity().sha256
    saved, expected = fast.state_dict(), other.state_dict()
    entries = expected.keys() - {'clip_identity'}
    assert saved.keys() == expected.keys() and all(torch.equal(saved[key], expected[key]) for key in entries)
    assert cosine_similarity(fast(views)['tuned'], other(views)['tuned']).min() > 0.999
    assert next(fast.clip.visual.parameters()).dtype == torch.bfloat16
    assert fast.clip_identity().sha256 == other.clip_identity().sha256
    assert all(torch.equal(fast.state_dict()[key], expected[key]) for key in entries)


@pytest.mark.parametrize('precision', ['fp32', 'bf16'])
def test_all_frozen_blocks_compile_to_one_graph_without_a_break(tiny_clip_config, views, precision, monkeypatch):
    """By counting: embedding, a block, and the class token of the last block, for any of four blocks and batches."""
    torch.compiler.reset()
    plain = compiled_steps.steps(False)
    whole = compiled_steps.Steps(*(compiled_steps._for_any_number(torch.compile(step, fullgraph=True, backend='eager'))
                                   for step in plain))
    monkeypatch.setattr(image_branches, 'steps', lambda compiled: whole if compiled else plain)
    tiny_clip_config['vision_cfg']['layers'] = 4
    compiled = small(tiny_clip_config, precision=precision, compiled=True)
    expected = small(tiny_clip_config, precision=precision)(views)
    counters.clear()
    torch.testing.assert_close(compiled(views), expected, atol=1e-5, rtol=1e-5)
    copy.deepcopy(compiled)(views[:4])
    assert counters['stats']['unique_graphs'] == 3 and not counters['graph_break']


def test_the_kernels_of_blocks_alone_are_chosen_by_measuring(monkeypatch):
    asked = {}
    monkeypatch.setattr(torch, 'compile', lambda step, options=None: asked.setdefault(step, []).append(options) or step)
    compiled_steps.steps.__wrapped__('tuned')
    assert set(asked) == set(compiled_steps.steps(False))
    assert [options for options in sum(asked.values(), []) if options] == [compiled_steps._OPTIONS['tuned']]
    monkeypatch.undo()
    compiled_steps.steps.__wrapped__('tuned')  # the compiler has these options


def test_wrong_choices_of_the_compiler_are_refused(tiny_clip_config):
    with pytest.raises(ValueError, match="compiled must be False, True or 'tuned', got 'fast'"):
        small(tiny_clip_config, compiled='fast')
    with pytest.raises(ValueError, match="compiled must be False, True or 'tuned', got 1"):
        small(tiny_clip_config, compiled=1)


def test_a_model_first_used_in_inference_mode_can_be_trained(tiny_clip_config, views):
    fast = small(tiny_clip_config, precision='bf16')
    with torch.inference_mode():
        fast(views)
    fast.train()(views, ('tuned', ))['tuned'].sum().backward()
    assert fast.tuned_blocks[0].attn.in_proj_weight.grad.isfinite().all()


def test_feature_maps_and_empty_batches_are_float32(tiny_clip_config, views):
    fast = small(tiny_clip_config, precision='bf16', output='feature_map')
    (exact, ) = small(tiny_clip_config, output='feature_map')(views)
    (feature_map, ) = fast(views)
    assert feature_map.dtype == torch.float32
    assert cosine_similarity(feature_map.flatten(1), exact.flatten(1)).min() > 0.999
    assert small(tiny_clip_config, precision='bf16')(views[:0])['tuned'].dtype == torch.float32


def test_wrong_precisions_are_refused(tiny_clip_config, views):
    with pytest.raises(ValueError, match='precision must be one of fp32, bf16, fp16, auto, got .int8.'):
        small(tiny_clip_config, precision='int8')
    with pytest.raises(ValueError, match="precision='fp16' needs a GPU; on the CPU use 'bf16'"):
        small(tiny_clip_config, precision='fp16')(views)


@pytest.mark.parametrize('gain, expected', [(2.1, torch.bfloat16), (0.4, torch.float32)])
def test_auto_takes_bfloat16_where_the_cpu_multiplies_it_faster(tiny_clip_config, views, monkeypatch, gain, expected):
    monkeypatch.setattr(precision_module, 'bfloat16_gain', lambda: gain)
    assert resolve_precision('auto', CPU) == expected
    backbone = small(tiny_clip_config, precision='auto')
    backbone(views)
    assert {parameter.dtype for parameter in backbone.clip.visual.parameters()} == {expected}
    assert {parameter.dtype for name, parameter in backbone.clip.named_parameters() if 'visual' not in name} == {
        torch.float32}


def test_auto_on_gpus_follows_their_units_and_is_float32_elsewhere(monkeypatch):
    monkeypatch.setattr(torch.cuda, 'is_bf16_supported', lambda including_emulation: True)
    assert resolve_precision('auto', torch.device('cuda')) == torch.bfloat16
    monkeypatch.setattr(torch.cuda, 'is_bf16_supported', lambda including_emulation: False)
    assert resolve_precision('auto', torch.device('cuda')) == torch.float32
    assert resolve_precision('fp16', torch.device('cuda')) == torch.float16
    assert resolve_precision('auto', torch.device('meta')) == torch.float32


def test_the_gain_of_bfloat16_is_measured_once():
    assert 0.01 < bfloat16_gain() < 100 and bfloat16_gain() == bfloat16_gain()


def test_the_configs_of_vit_h_take_the_precision_of_the_device_and_the_others_float32():
    found = {}
    for name in ('h14', 'h14_generated', 'l14', 'b16', 'b32', 'tiny'):
        config = read_config(REPOSITORY / f'configs/opendlign_{name}.py')
        found[name] = config.model.backbone.get('precision', 'fp32')
    assert found == dict(h14='auto', h14_generated='auto', l14='fp32', b16='fp32', b32='fp32', tiny='fp32')
