"""Optimized networks make the images of the plain ones; a consistency model needs four steps."""
from functools import partial
from types import SimpleNamespace

import pytest
import torch
from mmdet3d.registry import MODELS
from mmengine.config import Config
from torch._dynamo.testing import CompileCounter

from helpers.tiny_generation import SIZE, diffusion_config, sdxl_pipeline
from helpers.tool_modules import REPOSITORY
from opendlign_mm.benchmarks import Settings, diffusion as suite
from opendlign_mm.benchmarks.stable_diffusion import diffusion_generator, few_steps, pipeline_of_sd15
from opendlign_mm.generation import diffusion
from opendlign_mm.generation.fast_networks import FastNetworks
from opendlign_mm.generation.image_prompts import PromptStyle

VIEWS = (torch.rand(4, SIZE, SIZE, generator=torch.Generator().manual_seed(0)) > .5).float()
SEEDS, PROMPTS = [3, 4, 5, 6], [PromptStyle()(text) for text in ('cup', 'lamp', 'cup', 'chair')]


def generator(compiler='eager', **options):
    """An optimized generator; 'eager' finds the graphs of layers and computes them by PyTorch, which takes no time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(diffusion, 'FastNetworks', partial(FastNetworks, backend=compiler))
        return MODELS.build(diffusion_config(optimize=True, **options)).load()


def largest_difference(images, others) -> int:
    return int((images.int() - others.int()).abs().max())


SDXL = dict(pipeline=sdxl_pipeline(), prompt_outputs=('prompt_embeds', None, 'pooled_prompt_embeds', None))


@pytest.mark.parametrize('options', [{}, SDXL], ids=['sd', 'sdxl'])
def test_optimized_images_are_the_plain_ones_up_to_rounding(options):
    torch._dynamo.reset()
    counter = CompileCounter()
    fast, plain = generator(counter, **options), MODELS.build(diffusion_config(**options))
    images = fast(VIEWS, SEEDS, PROMPTS)
    assert largest_difference(images, plain(VIEWS, SEEDS, PROMPTS)) <= 1
    compiled, layers = counter.frame_count, len(fast._fast.layers)
    assert 8 < compiled < layers, 'all shapes, and layers of equal shapes share their code'
    assert torch.equal(fast(VIEWS, SEEDS, PROMPTS), images) and counter.frame_count == compiled
    order = [2, 0, 3, 1]
    shuffled = fast(VIEWS[order], [SEEDS[i] for i in order], [PROMPTS[i] for i in order])
    assert largest_difference(shuffled, images[order]) <= 1 and counter.frame_count == compiled


def test_convolutions_are_channels_last_and_projections_are_joined():
    pipeline = generator()._pipeline
    for network in (pipeline.unet, pipeline.controlnet, pipeline.vae):
        assert all(weight.is_contiguous(memory_format=torch.channels_last)
                   for weight in network.parameters() if weight.dim() == 4)
    block = pipeline.controlnet.down_blocks[1].attentions[0].transformer_blocks[0]
    plain = MODELS.build(diffusion_config()).load()._pipeline.controlnet.down_blocks[1].attentions[0]
    own, text = plain.transformer_blocks[0].attn1, plain.transformer_blocks[0].attn2
    assert torch.equal(block.attn1.to_qkv.weight, torch.cat([own.to_q.weight, own.to_k.weight, own.to_v.weight]))
    assert torch.equal(block.attn2.to_kv.weight, torch.cat([text.to_k.weight, text.to_v.weight]))
    assert not hasattr(block.attn1, 'to_q') and hasattr(block.attn2, 'to_q') and not hasattr(block.attn2, 'to_v')


def test_an_image_that_overflows_is_made_again_without_compiled_layers():
    def overflow(module, inputs, output):
        if output.dtype != torch.float32:
            output[1, :, 4, 5] = float('nan')

    torch._dynamo.reset()
    counter, failing = CompileCounter(), []
    for one in (generator(counter, dtype='bfloat16', pass_size=2), MODELS.build(
            diffusion_config(dtype='bfloat16', pass_size=2)).load()):
        one(VIEWS, SEEDS, PROMPTS)
        compiled = counter.frame_count
        one._pipeline.vae.decoder.register_forward_hook(overflow)
        failing.append(one(VIEWS, SEEDS, PROMPTS))
        assert one.images_repeated == 2
        assert torch.equal(one(VIEWS, SEEDS, PROMPTS), failing[-1]), 'the layers are compiled ones again'
        assert counter.frame_count == compiled, 'no layer is compiled for another type'
        assert not one.optimize or all(layer._compiled_call_impl is not None for layer in one._fast.layers)
    assert largest_difference(failing[0][[1, 3]], failing[1][[1, 3]]) <= 1


def test_cudnn_measures_during_a_pass_only_and_not_where_results_must_repeat(monkeypatch):
    one, seen = generator(num_steps=1), []
    one._pipeline.vae.decoder.register_forward_hook(lambda *_: seen.append(torch.backends.cudnn.benchmark))
    one(VIEWS[:1], SEEDS[:1], PROMPTS[:1])
    monkeypatch.setattr(torch.backends.cudnn, 'deterministic', True)
    one(VIEWS[:1], SEEDS[:1], PROMPTS[:1])
    assert seen == [True, False] and not torch.backends.cudnn.benchmark


def test_the_log_says_once_why_the_first_images_wait(monkeypatch):
    said = []
    monkeypatch.setattr('opendlign_mm.generation.fast_networks.print_log', lambda message, *_: said.append(message))
    one = generator(num_steps=1)
    assert not said
    for _ in range(2):
        one(VIEWS[:1], SEEDS[:1], PROMPTS[:1])
    assert said == [f'the first images wait until {len(one._fast.layers)} layers are compiled, which takes minutes']


def test_on_a_cpu_nothing_is_compiled():
    """Where compiled layers were measured to be slower; on a GPU they are compiled."""
    torch._dynamo.reset()
    one = generator('auto', num_steps=1)
    images = one(VIEWS[:1], SEEDS[:1], PROMPTS[:1])
    assert all(layer._compiled_call_impl is None for layer in one._fast.layers)
    plain = MODELS.build(diffusion_config(num_steps=1))(VIEWS[:1], SEEDS[:1], PROMPTS[:1])
    assert largest_difference(images, plain) <= 1
    other = FastNetworks(SimpleNamespace(components=dict(unet=one._pipeline.unet), device=torch.device('cuda')))
    with other.running():
        assert other.layers and all(layer._compiled_call_impl is not None for layer in other.layers)


def test_a_failing_compiler_is_one_error():
    def broken(graph, inputs):
        raise OSError('g++ is missing\nand more')

    torch._dynamo.reset()
    with pytest.raises(RuntimeError, match=r'cannot be compiled \(OSError: g\+\+ is missing\).*optimize=False'):
        generator(broken)(VIEWS[:1], SEEDS[:1], PROMPTS[:1])


def test_a_consistency_model_takes_four_steps_and_no_negative_prompt():
    """The config's own settings on a tiny UNet with guidance as an input."""
    config = Config.fromfile(REPOSITORY / 'configs/generation/sd15_lcm_controlnet_depth.py').generator.to_dict()
    assert (config['num_steps'], config['pass_size'], config['output_size']) == (4, 64, 224)
    assert config['pipeline']['components']['scheduler'] == dict(type='LCMScheduler')
    config.update(pipeline=few_steps(diffusion_config()['pipeline']), size=48, output_size=SIZE, pass_size=2)
    one, batches = MODELS.build(config).load(), []
    one._pipeline.unet.register_forward_pre_hook(lambda module, inputs: batches.append(len(inputs[0])))
    images = one(VIEWS, SEEDS, PROMPTS)
    assert batches == [2] * 8, 'four steps of two passes, none guided'
    assert one.texts.encoded == 3, 'three texts, the negative one is not encoded'
    # The noise that is added between the steps is that of the seed, too.
    alone = one(VIEWS[3:], SEEDS[3:], PROMPTS[3:])
    assert largest_difference(alone, images[3:]) <= 1 and images.float().std() > 1
    weaker = MODELS.build(dict(config, guidance_scale=2.))
    assert largest_difference(weaker(VIEWS[3:], SEEDS[3:], PROMPTS[3:]), alone) > 1


def test_the_suite_compares_with_the_plain_pipeline_of_diffusers(monkeypatch):
    monkeypatch.setattr(diffusion, 'FastNetworks', lambda pipeline: None)  # finding its graphs takes long
    monkeypatch.setattr(suite, 'count_operations_of_image', lambda steps, guided: 1e9)
    settings = Settings(torch.device('cpu'), quick=True)
    rows = list(suite.images(settings, pipeline_of_sd15(small=True), torch.float32, 64))
    assert [row.what.partition(', ')[2] for row in rows] == ['2 steps', '4 steps']
    assert rows[0].facts['mean_difference_of_255'] < .05, 'our images are those of the plain pipeline'
    for row in rows:
        assert row.facts['images_repeated'] == 0 and row.limit_seconds > 0
        assert row.ratio == pytest.approx(row.other_seconds / row.seconds), 'of a single pair, for an image'


def test_in_half_precision_images_differ_by_rounding_that_the_steps_amplify():
    """As on a GPU, where rounding is coarser: the networks of the check of optimized images, but not compiled."""
    fast, plain = (diffusion_generator(pipeline_of_sd15(small=True), 64, dtype='bfloat16', optimize=optimize,
                                       num_steps=4, pass_size=2).load() for optimize in (True, False))
    with fast._fast.uncompiled():
        images = fast(VIEWS[:2], SEEDS[:2], PROMPTS[:2]).float()
    expected = plain(VIEWS[:2], SEEDS[:2], PROMPTS[:2]).float()
    # Guided steps of random networks amplify rounding: about 8; images of other seeds differ by more than 40.
    difference, other = (images - expected).abs().mean(), (images - expected.flip(0)).abs().mean()
    assert 0 < difference < 16 and other > 2 * difference
