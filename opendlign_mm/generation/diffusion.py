"""Depth-aligned images from a diffusion model with a depth ControlNet (OpenDlign, section 3.1)."""
import inspect
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any, Literal, get_args

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from mmdet3d.registry import MODELS
from mmengine.logging import print_log
from torch import Tensor

from .fast_networks import FastNetworks
from .image_prompts import ImagePrompt, TextEmbeddings
from .pipeline_loading import load_pipeline

Dtype = Literal['auto', 'float32', 'float16', 'bfloat16']


@MODELS.register_module()
class DiffusionImageGenerator:
    """Any ControlNet pipeline of diffusers as a generator of images.

    Each image has its own random generator and the networks always see ``pass_size`` images (an incomplete pass is
    padded), so the image of a seed depends on the other images of the call only by rounding, and equal calls give equal
    bytes (with ``optimize``: in one process). Nothing is loaded before the first call or :meth:`load`.

    An image that overflowed in half precision, or has a single color, is generated again in float32. If that fails as
    well, the result is a black image, which :func:`single_color` detects.

    Args:
        pipeline: Config of the pipeline; see :func:`load_pipeline`.
        size: Height and width in pixels at which images are generated.
        output_size: Height and width in pixels to which they are resized (bicubic).
        num_steps: Number of denoising steps.
        guidance_scale: Scale of classifier-free guidance.
        control_strength: Weight of the ControlNet.
        median_kernel: Kernel of the median filter on the depth views; see :func:`control_images`.
        pass_size: Number of images that the networks see at a time; memory and speed depend on it.
        prompt_outputs: Names, as arguments of the pipeline, of what its ``encode_prompt`` returns for a prompt; None
            for what is not used. SDXL: ('prompt_embeds', None, 'pooled_prompt_embeds', None).
        dtype: Data type of the networks; 'auto' is float16 on a GPU and float32 elsewhere.
        optimize: Compute the same images up to rounding in less time; see :class:`FastNetworks`. The first pass of a
            process compiles, and another process may round differently.
        text_cache_mib: Memory for embeddings of texts in MiB; a text takes 0.12 (SD 1.5) to 4 (FLUX) in half precision.
        call_options: Further arguments of the pipeline's call.

    Raises:
        ValueError: An argument is out of range.
    """

    def __init__(self,
                 pipeline: dict,
                 size: int = 256,
                 output_size: int = 224,
                 num_steps: int = 20,
                 guidance_scale: float = 9.,
                 control_strength: float = 1.,
                 median_kernel: int = 7,
                 pass_size: int = 16,
                 prompt_outputs: Sequence[str | None] = ('prompt_embeds', None),
                 dtype: Dtype = 'auto',
                 optimize: bool = False,
                 text_cache_mib: int = 2048,
                 call_options: dict | None = None) -> None:
        if dtype not in get_args(Dtype):
            raise ValueError(f'dtype must be one of {", ".join(get_args(Dtype))}, got {dtype!r}')
        if min(pass_size, num_steps, size, output_size, text_cache_mib) < 1:
            raise ValueError('pass_size, num_steps, size, output_size and text_cache_mib must be >= 1')
        self.pipeline_config, self.dtype, self.optimize = dict(pipeline), dtype, optimize
        self.size, self.output_size, self.median_kernel, self.pass_size = size, output_size, median_kernel, pass_size
        self.call_options = dict(num_inference_steps=num_steps, guidance_scale=guidance_scale,
                                 controlnet_conditioning_scale=control_strength, **(call_options or {}))
        self.device = torch.device('cpu')
        self.texts = TextEmbeddings(prompt_outputs, text_cache_mib * 2**20)
        self.images_repeated = 0
        self._pipeline: Any = None
        self._fast: FastNetworks | None = None

    def to(self, device: str | torch.device) -> 'DiffusionImageGenerator':
        """Move the networks to a device; call it before the first image, so that 'auto' can choose the data type."""
        self.device = torch.device(device)
        if self._pipeline is not None:
            self._pipeline.to(self.device)
        return self

    def load(self) -> 'DiffusionImageGenerator':
        """Load the pipeline. Raises what :func:`load_pipeline` does."""
        if self._pipeline is None:
            automatic = 'float16' if self.device.type == 'cuda' else 'float32'
            dtype = getattr(torch, automatic if self.dtype == 'auto' else self.dtype)
            self._pipeline = load_pipeline(self.pipeline_config, dtype).to(self.device)
            self._pipeline.set_progress_bar_config(disable=True)
            self._fast = FastNetworks(self._pipeline) if self.optimize else None
            self._arguments = set(inspect.signature(self._pipeline.__call__).parameters)
        return self

    @torch.no_grad()
    def __call__(self, depth_views: Tensor, seeds: Sequence[int], prompts: Sequence[ImagePrompt]) -> Tensor:
        """Generate one image for each depth view.

        Args:
            depth_views: float (N, H, H) in [0, 1], background white, near is dark.
            seeds: N integers in [0, 2**63).
            prompts: N prompts.

        Returns:
            uint8 (N, output_size, output_size, 3), RGB, on the CPU.

        Raises:
            ValueError: The shapes do not fit together.
            RuntimeError: The GPU has too little memory for a pass.
        """
        if depth_views.dim() != 3 or not len(depth_views) == len(seeds) == len(prompts):
            raise ValueError(f'depth_views must be (N, H, H) with N seeds and N prompts, got '
                             f'{tuple(depth_views.shape)}, {len(seeds)} and {len(prompts)}')
        if not len(seeds):
            return torch.zeros(0, self.output_size, self.output_size, 3, dtype=torch.uint8)
        self.load()
        controls = control_images(depth_views, self.size, self.median_kernel)
        images = []
        for begin in range(0, len(seeds), self.pass_size):
            chosen = list(range(begin, min(begin + self.pass_size, len(seeds))))
            padded = chosen + chosen[-1:] * (self.pass_size - len(chosen))
            try:
                result = self._one_pass(controls[padded], [seeds[i] for i in padded], [prompts[i] for i in padded])
            except torch.cuda.OutOfMemoryError as error:
                raise RuntimeError(f'the GPU has too little memory for {self.pass_size} images at a time ({error}); '
                                   'reduce them: --cfg-options '
                                   f'generator.pass_size={max(self.pass_size // 2, 1)}') from None
            for place in single_color(result[:len(chosen)]).nonzero().flatten().tolist():
                index = chosen[place]
                result[place] = self._repeated(controls[index], seeds[index], prompts[index])
            images.append(result[:len(chosen)])
        return torch.cat(images)

    def _one_pass(self, controls: Tensor, seeds: Sequence[int], prompts: Sequence[ImagePrompt]) -> Tensor:
        """Generate images; those that are not finite become black."""
        options = dict(self.call_options, **self._embeddings(prompts))
        options['control_image' if 'control_image' in self._arguments else 'image'] = controls.to(self.device)
        # On the CPU, whose random numbers are the same on every machine.
        options['generator'] = [torch.Generator('cpu').manual_seed(int(seed)) for seed in seeds]
        with self._fast.running() if self._fast else nullcontext():
            images = self._pipeline(height=self.size, width=self.size, output_type='pt', **options).images
        images = images.float().cpu()
        images[~images.isfinite().flatten(1).all(1)] = 0
        if self.output_size != images.shape[-1]:
            images = F.interpolate(images, (self.output_size, ) * 2, mode='bicubic', antialias=True)
        return (images.clamp(0, 1) * 255).round_().to(torch.uint8).permute(0, 2, 3, 1).contiguous()

    def _repeated(self, control: Tensor, seed: int, prompt: ImagePrompt) -> Tensor:
        """Generate one image again in float32, alone; black if there is no better."""
        self.images_repeated += 1
        black, problem = torch.zeros(self.output_size, self.output_size, 3, dtype=torch.uint8), 'again'
        try:
            with self._full_precision() as changed:
                image = self._one_pass(control[None], [seed], [prompt])[0] if changed else black
        except torch.cuda.OutOfMemoryError:
            image, problem = black, 'and the GPU has too little memory for float32'
        if self.images_repeated == 1:
            outcome = f'{problem} in float32' if single_color(image[None]) else 'but not in float32'
            print_log(f'an image is not finite or has a single color, {outcome} (further ones are not reported here); '
                      f'its prompt: {prompt.positive!r}', 'current', logging.WARNING)
        return image

    @contextmanager
    def _full_precision(self) -> Iterator[bool]:
        """Use float32 weights and new text embeddings within the block.

        Afterwards the weights have their own data types and exact values again. The value tells whether anything is
        another type than float32.
        """
        modules = [part for part in self._pipeline.components.values() if isinstance(part, torch.nn.Module)]
        tensors = {id(tensor): tensor for module in modules for tensor in (*module.parameters(), *module.buffers())
                   if tensor.is_floating_point() and tensor.dtype != torch.float32}
        dtypes, texts = {key: tensor.dtype for key, tensor in tensors.items()}, self.texts
        try:
            self.texts = TextEmbeddings(texts.outputs, texts.max_bytes)
            for tensor in tensors.values():
                tensor.data = tensor.data.float()
            with self._fast.uncompiled() if self._fast else nullcontext():
                yield bool(tensors)
        finally:
            self.texts = texts
            for key, tensor in tensors.items():
                tensor.data = tensor.data.to(dtypes[key])

    def _embeddings(self, prompts: Sequence[ImagePrompt]) -> dict[str, Tensor]:
        """Return the arguments of the pipeline that replace the prompts' texts."""
        positive = [self.texts(self._pipeline, prompt.positive, self.device) for prompt in prompts]
        inputs = {name: torch.cat([text[name] for text in positive]) for name in positive[0]}
        # A network with distilled guidance (FLUX) takes guidance_scale as an input and calls the usual one otherwise.
        guidance = 'true_cfg_scale' if 'true_cfg_scale' in self._arguments else 'guidance_scale'
        # A consistency model takes it, too, and does not look at a negative prompt.
        distilled = getattr(getattr(self._pipeline, 'unet', None), 'config', {}).get('time_cond_proj_dim') is not None
        if self.call_options.get(guidance, 1) > 1 and not distilled:
            negative = [self.texts(self._pipeline, prompt.negative, self.device) for prompt in prompts]
            inputs.update({f'negative_{name}': torch.cat([text[name] for text in negative]) for name in negative[0]
                           if f'negative_{name}' in self._arguments})
        return {name: value.to(self.device) for name, value in inputs.items()}


def single_color(images: Tensor) -> Tensor:
    """Return which images have the same color everywhere: uint8 (N, H, W, 3) -> bool (N,)."""
    return (images == images[:, :1, :1]).flatten(1).all(1)


def control_images(depth_views: Tensor, size: int, median_kernel: int = 7) -> Tensor:
    """Smooth, invert and resize depth views (OpenDlign, section 3.1).

    ControlNet is more sensitive to jagged edges than CLIP, hence the median filter, and expects bright = near.

    Args:
        depth_views: float (N, H, W) in [0, 1], background white, near is dark.
        size: Height and width of the control images in pixels.
        median_kernel: Kernel of the median filter in pixels, odd; 1 disables it.

    Returns:
        float32 (N, 3, size, size) in [0, 1] on the CPU, background black, near is bright.

    Raises:
        ValueError: ``median_kernel`` is even or < 1.
    """
    if median_kernel < 1 or median_kernel % 2 == 0:
        raise ValueError(f'median_kernel must be odd and >= 1, got {median_kernel}')
    gray = (depth_views.detach().float().cpu() * 255).round().to(torch.uint8).numpy()
    images = []
    for view in gray:
        smooth = cv2.medianBlur(view, median_kernel) if median_kernel > 1 else view
        shrinks = size < view.shape[0]
        images.append(cv2.resize(255 - smooth, (size, size),
                                 interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR))
    stacked = torch.from_numpy(np.stack(images)).float() / 255
    return stacked[:, None].expand(-1, 3, -1, -1).contiguous()
