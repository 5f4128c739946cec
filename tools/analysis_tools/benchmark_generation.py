#!/usr/bin/env python
"""Measure the time of the image stage: the overhead around the generator, or the generator of SD 1.5 itself.

    B=tools/analysis_tools/benchmark_generation.py
    python $B overhead                                      # a mock that takes 0.2 s per image
    python $B sd15                                          # SD 1.5 + ControlNet with random weights: the same work
    python $B sd15 --pass-size 1 --steps 1 --repeats 1      # also runs on a CPU
    python $B sd15 --count                                  # counts floating point operations instead
"""
import argparse
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from mmdet3d.registry import MODELS
from mmengine.config import Config
from mmengine.registry import init_default_scope

from opendlign_mm.datasets.procedural import CATEGORIES, sample_shape
from opendlign_mm.datasets.store import PackedShape, ShapeStore, encode_image
from opendlign_mm.generation import DiffusionImageGenerator
from opendlign_mm.generation.image_prompts import ImagePrompt
from opendlign_mm.projection import ContourAwareProjection

CONFIG = Path(__file__).resolve().parents[2] / 'configs/generation/sd15_controlnet_depth.py'


@MODELS.register_module()
class TimedMock:
    """A generator that takes a given time and returns noise, the hardest images to encode."""

    cpu_seconds = 0.

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def __call__(self, depth_views: torch.Tensor, seeds: Sequence[int], prompts: object = None) -> torch.Tensor:
        """Return noise of the seeds, uint8 (N, 224, 224, 3)."""
        begin, cpu = time.perf_counter(), time.thread_time()
        images = torch.stack([torch.randint(0, 256, (224, 224, 3), dtype=torch.uint8,
                                            generator=torch.Generator().manual_seed(seed)) for seed in seeds])
        TimedMock.cpu_seconds += time.thread_time() - cpu
        time.sleep(max(0, self.seconds * len(seeds) - (time.perf_counter() - begin)))
        return images


def overhead(args: argparse.Namespace) -> None:
    """Run the image stage on ten views of a few objects with a mock instead of the diffusion model."""
    # A run imports these once (building a model imports mmdet3d): the measurement starts after it.
    import pyarrow.parquet  # noqa: F401
    import webdataset  # noqa: F401

    from opendlign_mm.generation.image_stage import generate_images
    MODELS.build(dict(type='TimedMock', seconds=0))
    with tempfile.TemporaryDirectory() as folder:
        store = ShapeStore.create(Path(folder) / 'depth', 'shards', args.shapes, 4, {})
        project = ContourAwareProjection()
        for shard in range(store.num_shards):
            shapes = []
            for index in store.indices(shard):
                points = sample_shape(CATEGORIES[index % 16], np.random.default_rng(index), 2000).points
                gray = (project(torch.from_numpy(points)[None])[0] * 255).round().to(torch.uint8).numpy()
                shapes.append(PackedShape(dict(sample_id=f'{index}', text=CATEGORIES[index % 16]),
                                          [encode_image(view) for view in gray]))
            store.write(shard, shapes)
        for layout in ('shards', 'folder'):
            TimedMock.cpu_seconds, cpu, begin = 0., time.process_time(), time.perf_counter()
            generate_images(dict(source=str(store.root), out_dir=f'{folder}/{layout}', layout=layout, batch_size=40,
                                 generator=dict(type='TimedMock', seconds=args.seconds)))
            seconds, mocked = time.perf_counter() - begin, args.seconds * args.shapes * 10
            cpu = time.process_time() - cpu - TimedMock.cpu_seconds
            # On a busy machine the CPU time is the more reliable figure.
            print(f'{layout}: {seconds:.2f} s, of which the mock {mocked:.2f} s: '
                  f'{100 * (seconds - mocked) / seconds:.2f} % overhead; CPU time outside the mock {cpu:.2f} s, '
                  f'{100 * cpu / (mocked + cpu):.2f} %')


def sd15_generator(pass_size: int, dtype: str, num_steps: int = 20) -> DiffusionImageGenerator:
    """Return SD 1.5 and its depth ControlNet; only the weights and the vocabulary differ from the real ones."""
    config = Config.fromfile(CONFIG).generator.to_dict()
    vocabulary = {word: index for index, word in enumerate(['<|startoftext|>', '<|endoftext|>'] + [
        letter + end for letter in map(chr, range(33, 127)) for end in ('', '</w>')])}
    blocks = ['CrossAttnDownBlock2D'] * 3 + ['DownBlock2D']
    config.update(pass_size=pass_size, dtype=dtype, num_steps=num_steps, pipeline=dict(
        type='StableDiffusionControlNetPipeline', requires_safety_checker=False,
        components=dict(
            unet=dict(type='UNet2DConditionModel', config=dict(cross_attention_dim=768, sample_size=64)),
            controlnet=dict(type='ControlNetModel', config=dict(cross_attention_dim=768, down_block_types=blocks)),
            vae=dict(type='AutoencoderKL', config=dict(
                block_out_channels=[128, 256, 512, 512], down_block_types=['DownEncoderBlock2D'] * 4,
                up_block_types=['UpDecoderBlock2D'] * 4, layers_per_block=2, sample_size=512)),
            text_encoder=dict(type='CLIPTextModel', config=dict(
                hidden_size=768, intermediate_size=3072, num_hidden_layers=12, num_attention_heads=12,
                projection_dim=768)),
            tokenizer=dict(type='CLIPTokenizer', config=dict(vocab=vocabulary, merges=[], model_max_length=77)),
            scheduler=dict(type='DDIMScheduler', config=dict(beta_start=.00085, beta_end=.012,
                                                            beta_schedule='scaled_linear')))))
    return MODELS.build(config)


def sd15(args: argparse.Namespace) -> None:
    """Measure the time of the diffusion model, or count its operations."""
    if args.count:
        print(f'{count_operations() / 1e12:.2f} TFLOP per image')
        return
    generator = sd15_generator(args.pass_size, args.dtype, args.steps).to(args.device).load()
    # Few words, since each letter is a token here; every text is padded to CLIP's 77 tokens anyway.
    prompts, views = [ImagePrompt('a chair', 'blurry')] * args.pass_size, torch.rand(args.pass_size, 224, 224)
    generator(views, range(args.pass_size), prompts)  # warms up
    begin = time.perf_counter()
    for _ in range(args.repeats):
        generator(views, range(args.pass_size), prompts)
    seconds = time.perf_counter() - begin
    images = args.repeats * args.pass_size
    on_gpu = args.device.startswith('cuda')
    memory = f'GPU memory peak {torch.cuda.max_memory_allocated() / 2**30:.1f} GiB' if on_gpu else 'on the CPU'
    print(f'{images} images of {args.steps} steps in {seconds:.1f} s: {images / seconds:.3g} images/s, {memory}, '
          f'dtype {args.dtype}, pass_size {args.pass_size}')


def count_operations() -> float:
    """Count the floating point operations of one image: 20 guided steps of both networks, and the decoder."""
    from diffusers import AutoencoderKL, ControlNetModel, UNet2DConditionModel
    from torch.utils.flop_counter import FlopCounterMode
    components = sd15_generator(1, 'float32').pipeline_config['components']
    with torch.device('meta'):
        unet = UNet2DConditionModel.from_config(components['unet']['config'])
        control = ControlNetModel.from_config(components['controlnet']['config'])
        coder = AutoencoderKL.from_config(components['vae']['config'])
        latents, text, image = torch.zeros(2, 4, 32, 32), torch.zeros(2, 77, 768), torch.zeros(2, 3, 256, 256)
        step, decode = FlopCounterMode(display=False), FlopCounterMode(display=False)
        with torch.no_grad(), step:
            down, middle = control(latents, 1, text, image, return_dict=False)
            unet(latents, 1, text, down_block_additional_residuals=down, mid_block_additional_residual=middle)
        with torch.no_grad(), decode:
            coder.decode(latents[:1])
    return 20 * step.get_total_flops() + decode.get_total_flops()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('what', choices=['overhead', 'sd15'])
    parser.add_argument('--shapes', type=int, default=40, help='objects of ten views each')
    parser.add_argument('--seconds', type=float, default=.2, help='time that the mock takes per image')
    parser.add_argument('--count', action='store_true', help='count operations instead of timing')
    parser.add_argument('--device', default='cuda' if torch.cuda.is_available() else 'cpu')
    parser.add_argument('--dtype', choices=['auto', 'float32', 'float16', 'bfloat16'], default='auto',
                        help='auto: float16 on a GPU, float32 elsewhere')
    parser.add_argument('--pass-size', type=int, default=32, help='images per forward pass of the networks')
    parser.add_argument('--steps', type=int, default=20, help='denoising steps')
    parser.add_argument('--repeats', type=int, default=3)
    args = parser.parse_args()
    init_default_scope('mmdet3d')
    {'overhead': overhead, 'sd15': sd15}[args.what](args)


if __name__ == '__main__':
    main()
