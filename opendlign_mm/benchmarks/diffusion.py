"""Suite ``diffusion``: images of Stable Diffusion 1.5 by our generator and by the plain pipeline of diffusers."""
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from typing import Any

import numpy as np
import torch
from mmengine.registry import init_default_scope

from ..models.precision import resolve_precision
from .limits import least_seconds
from .measuring import Curve, Row, Settings, compare, seconds_of
from .stable_diffusion import SIZE, count_operations_of_image, diffusion_generator, few_steps, pipeline_of_sd15

STEPS, FEW_STEPS = 20, 4
IMAGES = dict(cuda=32, cpu=1)  # on a GPU pass_size of configs/generation/sd15_controlnet_depth.py


def rows(settings: Settings) -> Iterator[Row]:
    """Measure both; the networks have random weights."""
    if find_spec('diffusers'):
        dtype = torch.float16 if settings.device.type == 'cuda' else resolve_precision('auto', settings.device)
        yield from images(settings, pipeline_of_sd15(settings.quick), dtype, settings.pick(SIZE, 64))


def images(settings: Settings, pipeline: dict, dtype: torch.dtype, size: int = SIZE) -> Iterator[Row]:
    """Measure 20 guided steps, then four steps of a distilled UNet, each beside 20 steps of the plain pipeline.

    Args:
        settings: How to measure.
        pipeline: Config of the pipeline.
        dtype: Dtype of all networks.
        size: Height and width of the images in pixels.
    """
    from ..generation.image_prompts import ImagePrompt
    init_default_scope('mmdet3d')
    name, steps = str(dtype).removeprefix('torch.'), settings.pick(STEPS, 2)
    count = settings.pick(IMAGES[settings.device.type], 2)
    # Few words, since each letter is a token here; every text is padded to CLIP's 77 tokens anyway.
    views, prompts = torch.rand(2 * count, 224, 224), [ImagePrompt('a chair', 'blurry')] * (2 * count)
    plain = plain_pipeline(pipeline, dtype, settings.device, views, prompts, steps, size)
    for what, config, number, few in (
            (f'an image by SD 1.5 and its depth ControlNet, {steps} steps', pipeline, count, False),
            (f'an image by a consistency model of SD 1.5 and the ControlNet, {FEW_STEPS} steps', few_steps(pipeline),
             2 * count, True)):  # without the second half of a guided pass: as much memory
        ours = diffusion_generator(config, size, dtype=name, optimize=True, pass_size=number,
                                   num_steps=FEW_STEPS if few else steps, median_kernel=1).to(settings.device).load()

        def call(ours: Any = ours, number: int = number) -> torch.Tensor:
            return ours(views[:number], range(number), prompts[:number])

        facts: dict[str, Any] = dict(first_pass_seconds=seconds_of(call, settings.device))
        if not few:
            facts['mean_difference_of_255'] = np.abs(
                call().numpy().astype(float) - np.stack([np.asarray(image) for image in plain(count)])).mean()
            if count > 1:
                facts['plain_seconds_one_at_a_time'] = seconds_of(lambda: plain(1), settings.device)
        seconds, other, ratio = compare(call, lambda: plain(count), settings)
        facts['images_repeated'] = ours.images_repeated
        operations = count_operations_of_image(ours.call_options['num_inference_steps'], guided=not few)
        yield Row('diffusion', what, seconds / number, 'image', name,
                  f'the plain pipeline of diffusers, {name}, {steps} steps, images a call: {count}',
                  other / count, ratio * number / count,
                  least_seconds(settings.device, dtype, operations, quick=settings.quick), facts)


def plain_pipeline(pipeline: dict, dtype: torch.dtype, device: torch.device, views: torch.Tensor, prompts: list,
                   steps: int, size: int) -> Callable[[int], list]:
    """Return a function that calls the pipeline of diffusers as its documentation does: number of images -> images.

    The prompts are texts, encoded in each call; seeds are 0, 1, 2 ...
    """
    from ..generation.diffusion import control_images
    from ..generation.pipeline_loading import load_pipeline
    pipe = load_pipeline(pipeline, dtype).to(device)
    pipe.set_progress_bar_config(disable=True)
    controls = control_images(views, size, median_kernel=1)

    def call(number: int) -> list:
        return pipe([prompt.positive for prompt in prompts[:number]], controls[:number],
                    negative_prompt=[prompt.negative for prompt in prompts[:number]], num_inference_steps=steps,
                    guidance_scale=9., height=size, width=size,
                    generator=[torch.Generator().manual_seed(seed) for seed in range(number)]).images

    return call


def curves(settings: Settings) -> Iterator[Curve]:
    """Yield nothing: the time grows with the number of images."""
    yield from ()
