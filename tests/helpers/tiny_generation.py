"""Generated datasets that take seconds: six built-in shapes, two views of 32 pixels, a random diffusion model."""
import hashlib
import string
from pathlib import Path

import torch
from mmdet3d.registry import MODELS
from mmengine.registry import init_default_scope

from helpers.tiny_clip import TINY_BACKBONE
from opendlign_mm.datasets.store import ShapeStore
from opendlign_mm.generation.depth_stage import project_depth

init_default_scope('mmdet3d')
VIEWS, SIZE = 2, 32
SHAPES = dict(type='BuiltInShapes', categories=('chair', 'table', 'bottle', 'lamp', 'cup', 'sofa'),
              num_per_category=1, num_points=300, pipeline=[dict(type='LoadBuiltInShape')])
PROJECTION = dict(resolution=SIZE, depth_bins=8)

_BLOCKS = dict(block_out_channels=[8, 16], layers_per_block=1, norm_num_groups=4)
_CROSS = dict(down_block_types=['DownBlock2D', 'CrossAttnDownBlock2D'], cross_attention_dim=16, attention_head_dim=4)
_WORDS = ['<|startoftext|>', '<|endoftext|>', *(letter + end for letter in string.printable.strip()
                                              for end in ('', '</w>'))]


_TEXT = dict(hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2, projection_dim=16,
             vocab_size=len(_WORDS), bos_token_id=0, eos_token_id=1, pad_token_id=1)
_CODER = dict(_BLOCKS, down_block_types=['DownEncoderBlock2D'] * 2, up_block_types=['UpDecoderBlock2D'] * 2,
              latent_channels=4, shift_factor=0.)


def _tokenizer(length: int = 400) -> dict:
    """Return a tokenizer with a token for each letter: the paper's prompts have more letters than CLIP's 77 tokens."""
    vocabulary = {word: index for index, word in enumerate(_WORDS)}
    return dict(type='CLIPTokenizer', config=dict(vocab=vocabulary, merges=[], model_max_length=length))


def diffusion_config(tokens: int = 400, **options) -> dict:
    """Return a generator config of a Stable Diffusion with a ControlNet: 30,000 random weights, no download."""
    unet = dict(_BLOCKS, **_CROSS, up_block_types=['CrossAttnUpBlock2D', 'UpBlock2D'], sample_size=16)
    control = dict(_BLOCKS, **_CROSS, conditioning_embedding_out_channels=[8, 16])
    pipeline = dict(
        type='StableDiffusionControlNetPipeline',
        requires_safety_checker=False,
        components=dict(
            vae=dict(type='AutoencoderKL', config=_CODER),
            text_encoder=dict(type='CLIPTextModel', config=dict(_TEXT, max_position_embeddings=tokens)),
            tokenizer=_tokenizer(tokens),
            unet=dict(type='UNet2DConditionModel', config=unet),
            controlnet=dict(type='ControlNetModel', config=control),
            scheduler=dict(type='DDIMScheduler', config=dict(beta_schedule='scaled_linear'))))
    return dict(dict(type='DiffusionImageGenerator', pipeline=pipeline, size=48, output_size=SIZE, num_steps=2,
                     pass_size=3, median_kernel=3), **options)


def sdxl_pipeline() -> dict:
    """Return the config of an equally small Stable Diffusion XL with a ControlNet."""
    text = dict(_TEXT, max_position_embeddings=400)
    size = dict(_BLOCKS, **dict(_CROSS, cross_attention_dim=32), addition_embed_type='text_time',
                addition_time_embed_dim=8, projection_class_embeddings_input_dim=6 * 8 + 16)
    return dict(type='StableDiffusionXLControlNetPipeline', components=dict(
        vae=dict(type='AutoencoderKL', config=_CODER),
        text_encoder=dict(type='CLIPTextModel', config=text),
        text_encoder_2=dict(type='CLIPTextModelWithProjection', config=text),
        tokenizer=_tokenizer(), tokenizer_2=_tokenizer(),
        unet=dict(type='UNet2DConditionModel', config=dict(
            size, up_block_types=['CrossAttnUpBlock2D', 'UpBlock2D'], sample_size=16)),
        controlnet=dict(type='ControlNetModel', config=dict(size, conditioning_embedding_out_channels=[8, 16])),
        scheduler=dict(type='DDIMScheduler', config=dict(beta_schedule='scaled_linear'))))


def flux_pipeline() -> dict:
    """Return the config of an equally small FLUX with a ControlNet."""
    size = dict(in_channels=16, num_layers=1, num_single_layers=1, attention_head_dim=16, num_attention_heads=2,
                joint_attention_dim=16, pooled_projection_dim=16, axes_dims_rope=[4, 4, 8], guidance_embeds=True)
    return dict(type='FluxControlNetPipeline', components=dict(
        vae=dict(type='AutoencoderKL', config=dict(_CODER, use_quant_conv=False, use_post_quant_conv=False)),
        text_encoder=dict(type='CLIPTextModel', config=dict(_TEXT, max_position_embeddings=400)),
        text_encoder_2=dict(type='T5EncoderModel', config=dict(
            d_model=16, d_kv=8, d_ff=16, num_layers=1, num_heads=2, vocab_size=len(_WORDS))),
        tokenizer=_tokenizer(), tokenizer_2=_tokenizer(),
        transformer=dict(type='FluxTransformer2DModel', config=size),
        controlnet=dict(type='FluxControlNetModel', config=size),
        scheduler=dict(type='FlowMatchEulerDiscreteScheduler', config=dict())))


def generation_config(source: Path, out_dir: Path, **changes) -> dict:
    """Return a config of the image stage."""
    return dict(dict(source=str(source), out_dir=str(out_dir), depth_shape=(VIEWS, SIZE, SIZE), batch_size=5, seed=1,
                     image_format='png', generator=diffusion_config(),
                     filter=dict(clip=dict(TINY_BACKBONE, num_blocks=0), template='a {}', max_rank=3)), **changes)


def depth_store(folder: Path, shapes_per_shard: int = 2, **options) -> ShapeStore:
    """Write depth views of the six shapes."""
    assert not project_depth(SHAPES, folder, VIEWS, PROJECTION, shapes_per_shard=shapes_per_shard, **options)
    return ShapeStore(folder)


def files_of(root: Path) -> dict:
    """Return the hash of every file of a store except its lock."""
    return {str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted(root.rglob('*')) if path.is_file() and path.name != '.lock'}


@MODELS.register_module(force=True)
class SlowStandIn:
    """A stand-in for a diffusion model that waits and returns noise of the seeds.

    When called, it writes the file that the environment variable STAND_IN_MARK names.
    """

    def __init__(self, seconds: float = 0.) -> None:
        self.seconds = seconds

    def __call__(self, depth_views, seeds, prompts=None) -> torch.Tensor:
        import os
        import time
        if 'STAND_IN_MARK' in os.environ:
            Path(os.environ['STAND_IN_MARK']).touch()
        time.sleep(self.seconds * len(seeds))
        size = depth_views.shape[-1]
        return torch.stack([torch.randint(0, 256, (size, size, 3), dtype=torch.uint8,
                                          generator=torch.Generator().manual_seed(seed)) for seed in seeds])
