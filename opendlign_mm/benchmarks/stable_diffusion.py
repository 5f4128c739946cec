"""Stable Diffusion 1.5 and its depth ControlNet with random weights: the work of the real ones without a download."""
from typing import Any

import torch
from mmdet3d.registry import MODELS

SIZE = 256  # side of a generated image in pixels, as in configs/generation/sd15_controlnet_depth.py


def generator_of_sd15(pass_size: int, dtype: str, num_steps: int = 20) -> Any:
    """Return the generator; only the weights and the vocabulary differ from the real one.

    Args:
        pass_size: Images per forward pass of the networks.
        dtype: ``'auto'``, ``'float32'``, ``'float16'`` or ``'bfloat16'``.
        num_steps: Denoising steps.
    """
    vocabulary = {word: index for index, word in enumerate(['<|startoftext|>', '<|endoftext|>'] + [
        letter + end for letter in map(chr, range(33, 127)) for end in ('', '</w>')])}
    unet, control, coder = _configs()
    pipeline = dict(
        type='StableDiffusionControlNetPipeline', requires_safety_checker=False,
        components=dict(
            unet=dict(type='UNet2DConditionModel', config=unet),
            controlnet=dict(type='ControlNetModel', config=control), vae=dict(type='AutoencoderKL', config=coder),
            text_encoder=dict(type='CLIPTextModel', config=dict(
                hidden_size=768, intermediate_size=3072, num_hidden_layers=12, num_attention_heads=12,
                projection_dim=768)),
            tokenizer=dict(type='CLIPTokenizer', config=dict(vocab=vocabulary, merges=[], model_max_length=77)),
            scheduler=dict(type='DDIMScheduler', config=dict(beta_start=.00085, beta_end=.012,
                                                            beta_schedule='scaled_linear'))))
    return MODELS.build(dict(type='DiffusionImageGenerator', pipeline=pipeline, size=SIZE, output_size=224,
                             num_steps=num_steps, pass_size=pass_size, dtype=dtype))


def _configs() -> tuple[dict, dict, dict]:
    """Return the configurations of the UNet, the ControlNet and the image coder of SD 1.5."""
    blocks = ['CrossAttnDownBlock2D'] * 3 + ['DownBlock2D']
    return (dict(cross_attention_dim=768, sample_size=64), dict(cross_attention_dim=768, down_block_types=blocks),
            dict(block_out_channels=[128, 256, 512, 512], down_block_types=['DownEncoderBlock2D'] * 4,
                 up_block_types=['UpDecoderBlock2D'] * 4, layers_per_block=2, sample_size=512))


@torch.no_grad()
def count_operations_of_image() -> int:
    """Count the floating point operations of one image: 20 guided steps of both networks, and the decoder."""
    from diffusers import AutoencoderKL, ControlNetModel, UNet2DConditionModel
    from torch.utils.flop_counter import FlopCounterMode
    networks = zip((UNet2DConditionModel, ControlNetModel, AutoencoderKL), _configs(), strict=True)
    side = SIZE // 8
    with torch.device('meta'):
        unet, control, coder = (network.from_config(config) for network, config in networks)
        latents, text, image = torch.zeros(2, 4, side, side), torch.zeros(2, 77, 768), torch.zeros(2, 3, SIZE, SIZE)
        step, decode = FlopCounterMode(display=False), FlopCounterMode(display=False)
        with step:
            down, middle = control(latents, 1, text, image, return_dict=False)
            unet(latents, 1, text, down_block_additional_residuals=down, mid_block_additional_residual=middle)
        with decode:
            coder.decode(latents[:1])
    return 20 * step.get_total_flops() + decode.get_total_flops()
