"""Stable Diffusion 1.5 and its depth ControlNet with random weights: the work of the real ones without a download."""
from typing import Any

import torch
from mmdet3d.registry import MODELS

SIZE = 256  # side of a generated image in pixels, as in configs/generation/sd15_controlnet_depth.py


def pipeline_of_sd15(small: bool = False) -> dict:
    """Return the config of the pipeline; only the weights and the vocabulary differ from the real one.

    Args:
        small: A tenth of the channels and two levels instead of four, to check and not to measure.
    """
    vocabulary = {word: index for index, word in enumerate(['<|startoftext|>', '<|endoftext|>'] + [
        letter + end for letter in map(chr, range(33, 127)) for end in ('', '</w>')])}
    unet, control, coder = _small_configs() if small else _configs()
    text = (dict(hidden_size=64, intermediate_size=64, num_hidden_layers=1, num_attention_heads=2, projection_dim=64)
            if small else dict(hidden_size=768, intermediate_size=3072, num_hidden_layers=12, num_attention_heads=12,
                               projection_dim=768))
    return dict(
        type='StableDiffusionControlNetPipeline', requires_safety_checker=False,
        components=dict(
            unet=dict(type='UNet2DConditionModel', config=unet),
            controlnet=dict(type='ControlNetModel', config=control), vae=dict(type='AutoencoderKL', config=coder),
            text_encoder=dict(type='CLIPTextModel', config=text),
            tokenizer=dict(type='CLIPTokenizer', config=dict(vocab=vocabulary, merges=[], model_max_length=77)),
            scheduler=dict(type='DDIMScheduler', config=dict(beta_start=.00085, beta_end=.012,
                                                            beta_schedule='scaled_linear'))))


def few_steps(pipeline: dict) -> dict:
    """Return a pipeline as a consistency model that was distilled from it: guidance is an input of the UNet."""
    parts = pipeline['components']
    unet = dict(parts['unet'], config=dict(parts['unet']['config'], time_cond_proj_dim=256))
    scheduler = dict(parts['scheduler'], type='LCMScheduler')
    return dict(pipeline, components=dict(parts, unet=unet, scheduler=scheduler))


def diffusion_generator(pipeline: dict, size: int = SIZE, **options: Any) -> Any:
    """Return the generator of a pipeline whose images keep their size.

    Args:
        pipeline: Config of the pipeline.
        size: Height and width of the images in pixels.
        options: Further arguments of :class:`DiffusionImageGenerator`.
    """
    return MODELS.build(dict(type='DiffusionImageGenerator', pipeline=pipeline, size=size, output_size=size, **options))


def _configs() -> tuple[dict, dict, dict]:
    """Return the configurations of the UNet, the ControlNet and the image coder of SD 1.5."""
    blocks = ['CrossAttnDownBlock2D'] * 3 + ['DownBlock2D']
    return (dict(cross_attention_dim=768, sample_size=64), dict(cross_attention_dim=768, down_block_types=blocks),
            dict(block_out_channels=[128, 256, 512, 512], down_block_types=['DownEncoderBlock2D'] * 4,
                 up_block_types=['UpDecoderBlock2D'] * 4, layers_per_block=2, sample_size=512))


def _small_configs() -> tuple[dict, dict, dict]:
    blocks = dict(block_out_channels=[32, 64], layers_per_block=1, norm_num_groups=8)
    denoiser = dict(blocks, down_block_types=['CrossAttnDownBlock2D', 'DownBlock2D'], cross_attention_dim=64,
                    attention_head_dim=2)
    return (dict(denoiser, up_block_types=['UpBlock2D', 'CrossAttnUpBlock2D'], sample_size=16),
            dict(denoiser, conditioning_embedding_out_channels=[8, 16]),
            dict(blocks, down_block_types=['DownEncoderBlock2D'] * 2, up_block_types=['UpDecoderBlock2D'] * 2,
                 latent_channels=4))


@torch.no_grad()
def count_operations_of_image(num_steps: int = 20, guided: bool = True) -> int:
    """Count the floating point operations of one image: the steps of both networks, and the decoder.

    Args:
        num_steps: Denoising steps.
        guided: Each step sees the image with and without its text.
    """
    from diffusers import AutoencoderKL, ControlNetModel, UNet2DConditionModel
    from torch.utils.flop_counter import FlopCounterMode
    networks = zip((UNet2DConditionModel, ControlNetModel, AutoencoderKL), _configs(), strict=True)
    side, seen = SIZE // 8, 2 if guided else 1
    with torch.device('meta'):
        unet, control, coder = (network.from_config(config) for network, config in networks)
        latents, text = torch.zeros(seen, 4, side, side), torch.zeros(seen, 77, 768)
        image = torch.zeros(seen, 3, SIZE, SIZE)
        step, decode = FlopCounterMode(display=False), FlopCounterMode(display=False)
        with step:
            down, middle = control(latents, 1, text, image, return_dict=False)
            unet(latents, 1, text, down_block_additional_residuals=down, mid_block_additional_residual=middle)
        with decode:
            coder.decode(latents[:1])
    return num_steps * step.get_total_flops() + decode.get_total_flops()
