"""Generated data sets that take seconds: six built-in shapes, two views of 32 pixels, a random diffusion model."""
import hashlib
import string
from pathlib import Path

import torch
from mmdet3d.registry import MODELS
from mmengine.registry import init_default_scope
from tiny_runs import TINY_BACKBONE

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


def diffusion_config(**options) -> dict:
    """A Stable Diffusion with a ControlNet of 30,000 random weights; no download."""
    vocabulary = {word: index for index, word in enumerate(_WORDS)}
    text = dict(hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2,
                vocab_size=len(_WORDS), bos_token_id=0, eos_token_id=1, pad_token_id=1)
    coder = dict(_BLOCKS, down_block_types=['DownEncoderBlock2D'] * 2, up_block_types=['UpDecoderBlock2D'] * 2,
                 latent_channels=4)
    unet = dict(_BLOCKS, **_CROSS, up_block_types=['CrossAttnUpBlock2D', 'UpBlock2D'], sample_size=16)
    control = dict(_BLOCKS, **_CROSS, conditioning_embedding_out_channels=[8, 16])
    pipeline = dict(
        type='StableDiffusionControlNetPipeline',
        requires_safety_checker=False,
        components=dict(
            vae=dict(type='AutoencoderKL', config=coder),
            text_encoder=dict(type='CLIPTextModel', config=text),
            tokenizer=dict(type='CLIPTokenizer', config=dict(vocab=vocabulary, merges=[], model_max_length=77)),
            unet=dict(type='UNet2DConditionModel', config=unet),
            controlnet=dict(type='ControlNetModel', config=control),
            scheduler=dict(type='DDIMScheduler', config=dict(beta_schedule='scaled_linear'))))
    return dict(dict(type='DiffusionImageGenerator', pipeline=pipeline, size=48, output_size=SIZE, num_steps=2,
                     pass_size=3, median_kernel=3), **options)


def generation_config(source: Path, out_dir: Path, **changes) -> dict:
    """A config of the image stage."""
    return dict(dict(source=str(source), out_dir=str(out_dir), depth_shape=(VIEWS, SIZE, SIZE), batch_size=5, seed=1,
                     image_format='png', generator=diffusion_config(),
                     filter=dict(clip=dict(TINY_BACKBONE, num_blocks=0), template='a {}', max_rank=3)), **changes)


def depth_store(folder: Path, shapes_per_shard: int = 2, **options) -> ShapeStore:
    """Depth views of the six shapes."""
    assert not project_depth(SHAPES, folder, VIEWS, PROJECTION, shapes_per_shard=shapes_per_shard, **options)
    return ShapeStore(folder)


def files_of(root: Path) -> dict:
    """Hash of every file of a store but its lock."""
    return {str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted(root.rglob('*')) if path.is_file() and path.name != '.lock'}


@MODELS.register_module(force=True)
class SlowStandIn:
    """Stands in for a diffusion model: images of a seed, after a while."""

    def __init__(self, seconds: float = 0.) -> None:
        self.seconds = seconds

    def __call__(self, depth_views, seeds, prompts=None) -> torch.Tensor:
        import time
        time.sleep(self.seconds * len(seeds))
        size = depth_views.shape[-1]
        return torch.stack([torch.randint(0, 256, (size, size, 3), dtype=torch.uint8,
                                          generator=torch.Generator().manual_seed(seed)) for seed in seeds])


def image_worker(config: dict, rank: int, port: int, mark: str, rename: int = -1) -> None:
    """One of two processes of the image stage, as torchrun starts them.

    Args:
        config: Of the stage.
        rank: 0 or 1.
        port: Where the processes meet.
        mark: File to write when the work begins.
        rename: The process kills itself with SIGKILL at this renaming of a file, before it or, if odd, after it.
    """
    import os
    import signal

    from opendlign_mm.generation.image_stage import generate_images
    from opendlign_mm.generation.work_split import join_processes, leave_processes
    torch.set_num_threads(1)
    os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE='2', MASTER_ADDR='127.0.0.1',
                      MASTER_PORT=str(port), CUDA_VISIBLE_DEVICES='')
    join_processes('pytorch')
    Path(mark).touch()
    if rename >= 0:
        replace, calls = os.replace, []

        def replace_or_die(*paths):
            calls.append(paths)
            if len(calls) - 1 == rename // 2 and rename % 2 == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            replace(*paths)
            if len(calls) - 1 == rename // 2:
                os.kill(os.getpid(), signal.SIGKILL)

        os.replace = replace_or_die
    init_default_scope('mmdet3d')
    generate_images(config)
    leave_processes()
