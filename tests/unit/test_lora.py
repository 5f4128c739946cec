"""Low-rank changes of a UNet: added to its weights as NumPy computes them, or refused."""
import numpy as np
import pytest
import torch
from mmdet3d.registry import MODELS
from mmengine.config import Config
from safetensors.torch import save_file

from helpers.tiny_generation import SIZE, diffusion_config, flux_pipeline
from helpers.tool_modules import REPOSITORY
from opendlign_mm.generation.image_prompts import PromptStyle
from opendlign_mm.generation.lora import add_lora
from opendlign_mm.generation.pipeline_loading import load_pipeline

LINEAR = 'down_blocks.1.attentions.0.transformer_blocks.0.attn2.to_k'  # 16 -> 16
CONVOLUTION = 'down_blocks.0.resnets.0.conv1'  # 8 -> 8, 3 x 3
KOHYA = tuple('lora_unet_' + name.replace('.', '_') for name in (LINEAR, CONVOLUTION))


def random(*shape) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape)))


def weights(linear: str = KOHYA[0], convolution: str = KOHYA[1], up: str = 'lora_up', down: str = 'lora_down') -> dict:
    return {f'{linear}.{up}.weight': random(16, 2), f'{linear}.{down}.weight': random(2, 16),
            f'{convolution}.{up}.weight': random(8, 4, 1, 1), f'{convolution}.{down}.weight': random(4, 8, 3, 3)}


def write(folder, contents: dict) -> str:
    save_file(contents, folder / 'pytorch_lora_weights.safetensors')
    return str(folder)


def unet():
    return load_pipeline(diffusion_config()['pipeline'], torch.float32).unet


@pytest.mark.parametrize(('names', 'alpha'), [
    ({}, 1.), (dict(linear=f'unet.{LINEAR}', convolution=f'unet.{CONVOLUTION}', up='lora_B', down='lora_A'), None)])
def test_the_product_of_the_factors_is_added(names, alpha, tmp_path):
    contents = weights(**names)
    extra = {} if alpha is None else {f'{name}.alpha': torch.tensor(alpha) for name in KOHYA}
    network, before = unet(), dict(unet().named_parameters())
    assert add_lora(network, write(tmp_path, dict(contents, **extra)), scale=.5) == 2
    up, down, wide, kernel = (value.numpy() for value in contents.values())
    expected = {f'{LINEAR}.weight': up @ down * (.5 if alpha is None else .5 / 2),
                f'{CONVOLUTION}.weight': np.einsum('or,rihw->oihw', wide[..., 0, 0], kernel) * (
                    .5 if alpha is None else .5 / 4)}
    for name, value in network.named_parameters():
        change = (value - before[name]).detach().numpy()
        np.testing.assert_allclose(change, expected.get(name, 0), atol=1e-5)


def test_a_pipeline_takes_loras_in_half_precision_and_makes_other_images(tmp_path):
    config = diffusion_config(dtype='bfloat16')
    changed = dict(config, pipeline=dict(config['pipeline'], loras=[dict(pretrained=write(tmp_path, weights()))]))
    arguments = torch.zeros(1, SIZE, SIZE), [5], [PromptStyle()('cup')]
    images = [MODELS.build(each)(*arguments).int() for each in (config, changed)]
    assert (images[0] - images[1]).abs().max() > 1


def test_the_four_step_config_changes_the_papers_network_and_does_not_guide():
    config = Config.fromfile(REPOSITORY / 'configs/generation/sd15_lcm_lora_controlnet_depth.py').generator.to_dict()
    paper = Config.fromfile(REPOSITORY / 'configs/generation/sd15_controlnet_depth.py').generator.to_dict()
    assert config['pipeline'].pop('loras') == [dict(pretrained='latent-consistency/lcm-lora-sdv1-5')]
    assert config['pipeline']['components'].pop('scheduler') == dict(type='LCMScheduler')
    paper['pipeline']['components'].pop('scheduler')
    assert config['pipeline'] == paper['pipeline']
    assert (config['num_steps'], config['guidance_scale']) == (4, 1.)


def test_what_does_not_fit_is_one_error(tmp_path):
    folder, network = str(tmp_path), unet()
    with pytest.raises(FileNotFoundError, match='pytorch_lora_weights.safetensors does not exist'):
        add_lora(network, folder)
    for contents, message in (
            ({'lora_te_text_model.lora_up.weight': random(2, 2)}, 'no change of a layer of this UNet2DConditionModel'),
            ({KOHYA[0] + '.dora_scale': random(2, 2)}, 'dora_scale'), ({}, 'has no weights'),
            ({KOHYA[0] + '.lora_up.weight': random(16, 2)}, 'one of the two factors is missing'),
            (dict(weights(), **{KOHYA[0] + '.lora_up.weight': random(8, 2)}), r'factors \(8, 2\) and \(2, 16\)')):
        with pytest.raises(ValueError, match=message):
            add_lora(network, write(tmp_path, contents))
    with pytest.raises(ValueError, match='loras change a UNet, which FluxControlNetPipeline lacks'):
        load_pipeline(dict(flux_pipeline(), loras=[dict(pretrained=folder)]), torch.float32)


def test_a_lora_that_cannot_be_downloaded_is_named(monkeypatch):
    import huggingface_hub

    def fail(name, file):
        raise OSError('offline')

    monkeypatch.setattr(huggingface_hub, 'hf_hub_download', fail)
    with pytest.raises(FileNotFoundError, match=r"LoRA 'some/lora' \(a.safetensors\).*offline"):
        add_lora(torch.nn.Linear(2, 2), 'some/lora', 'a.safetensors')
