"""Depth-aligned images from a diffusion model with a depth ControlNet."""
import inspect
import logging
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from mmdet3d.registry import MODELS
from mmengine.logging import print_log
from torch import Tensor

from .image_prompts import ImagePrompt
from .pipeline_loading import load_pipeline

DTYPES = dict(float32=torch.float32, float16=torch.float16, bfloat16=torch.bfloat16)


@MODELS.register_module()
class DiffusionImageGenerator:
    """Any ControlNet pipeline of diffusers as a generator of images.

    The image of a seed is the same, whatever is generated beside it, up to rounding: each image has its own random
    generator. The same call gives the same bytes; the networks always see ``pass_size`` images, the last pass filled up.
    Nothing is loaded before the first call or :meth:`load`.

    Args:
        pipeline: Config of the pipeline; see :func:`load_pipeline`.
        size: Height and width in pixels at which images are generated.
        output_size: Those of the result, which is resized (bicubic).
        num_steps: Denoising steps.
        guidance_scale: Of classifier-free guidance.
        control_strength: Weight of the ControlNet.
        median_kernel: Of the median filter before the depth views are inverted.
        pass_size: Images that the networks see at a time; memory and speed depend on it.
        prompt_outputs: Names, as arguments of the pipeline, of what its ``encode_prompt`` returns for a prompt; None
            for what is not used. SDXL: ('prompt_embeds', None, 'pooled_prompt_embeds', None).
        dtype: 'float32', 'float16', 'bfloat16' or 'auto': float16 on a GPU, float32 elsewhere.
        max_cached_texts: Distinct texts whose embeddings are kept, in main memory (a quarter of a MB each in float32
            for SD 1.5); with more, the longest unused one is dropped.
        call_options: Further arguments of the pipeline's call.
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
                 dtype: str = 'auto',
                 max_cached_texts: int = 8192,
                 call_options: dict | None = None) -> None:
        if dtype != 'auto' and dtype not in DTYPES:
            raise ValueError(f"dtype must be 'auto' or one of {', '.join(DTYPES)}, got {dtype!r}")
        if min(pass_size, num_steps, size, output_size, max_cached_texts) < 1:
            raise ValueError('pass_size, num_steps, size, output_size and max_cached_texts must be >= 1')
        self.pipeline_config, self.dtype = dict(pipeline), dtype
        self.size, self.output_size, self.median_kernel, self.pass_size = size, output_size, median_kernel, pass_size
        self.prompt_outputs, self.max_cached_texts = tuple(prompt_outputs), max_cached_texts
        self.call_options = dict(num_inference_steps=num_steps, guidance_scale=guidance_scale,
                                 controlnet_conditioning_scale=control_strength, **(call_options or {}))
        self.device = torch.device('cpu')
        self.texts_encoded = self.texts_truncated = 0
        self._pipeline: Any = None
        self._texts: dict[str, dict[str, Tensor]] = OrderedDict()

    def to(self, device: str | torch.device) -> 'DiffusionImageGenerator':
        """Where the networks run; call it before anything is generated."""
        self.device = torch.device(device)
        if self._pipeline is not None:
            self._pipeline.to(self.device)
        return self

    def load(self) -> 'DiffusionImageGenerator':
        """Load the pipeline. Raises what :func:`load_pipeline` does."""
        if self._pipeline is None:
            automatic = torch.float16 if self.device.type == 'cuda' else torch.float32
            self._pipeline = load_pipeline(self.pipeline_config, DTYPES.get(self.dtype, automatic)).to(self.device)
            self._pipeline.set_progress_bar_config(disable=True)
            self._arguments = set(inspect.signature(self._pipeline.__call__).parameters)
        return self

    @torch.no_grad()
    def __call__(self, depth_views: Tensor, seeds: Sequence[int], prompts: Sequence[ImagePrompt]) -> Tensor:
        """Generate one image for each depth view.

        Args:
            depth_views: float (N, H, H) in [0, 1], background white, near is dark.
            seeds: N whole numbers in [0, 2**63).
            prompts: N prompts.

        Returns:
            uint8 (N, output_size, output_size, 3), RGB, on the CPU.

        Raises:
            ValueError: Shapes that do not fit together.
            RuntimeError: The memory of the GPU does not suffice for a pass.
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
            filled = chosen + chosen[-1:] * (self.pass_size - len(chosen))
            result = self._one_pass(controls[filled], [seeds[i] for i in filled], [prompts[i] for i in filled])
            images.append(result[:len(chosen)])
        return torch.cat(images)

    def _one_pass(self, controls: Tensor, seeds: Sequence[int], prompts: Sequence[ImagePrompt]) -> Tensor:
        options = dict(self.call_options, **self._embeddings(prompts))
        options['control_image' if 'control_image' in self._arguments else 'image'] = controls.to(self.device)
        # On the CPU, whose random numbers are the same on every machine.
        options['generator'] = [torch.Generator('cpu').manual_seed(int(seed)) for seed in seeds]
        try:
            images = self._pipeline(height=self.size, width=self.size, output_type='pt', **options).images
        except torch.cuda.OutOfMemoryError as error:
            raise RuntimeError(f'the GPU has no memory for {self.pass_size} images at a time ({error}); take fewer: '
                               f'--cfg-options generator.pass_size={max(self.pass_size // 2, 1)}') from None
        images = images.float().cpu()
        if self.output_size != images.shape[-1]:
            images = F.interpolate(images, (self.output_size, ) * 2, mode='bicubic', antialias=True)
        return (images.clamp(0, 1) * 255).round_().to(torch.uint8).permute(0, 2, 3, 1).contiguous()

    def _embeddings(self, prompts: Sequence[ImagePrompt]) -> dict[str, Tensor]:
        """What the pipeline is to be called with instead of texts."""
        positive = [self._encoded(prompt.positive) for prompt in prompts]
        inputs = {name: torch.cat([text[name] for text in positive]) for name in positive[0]}
        # For a network with distilled guidance (FLUX) guidance_scale is an input, and another one the usual guidance.
        guidance = 'true_cfg_scale' if 'true_cfg_scale' in self._arguments else 'guidance_scale'
        if self.call_options.get(guidance, 1) > 1:
            negative = [self._encoded(prompt.negative) for prompt in prompts]
            inputs.update({f'negative_{name}': torch.cat([text[name] for text in negative]) for name in negative[0]
                           if f'negative_{name}' in self._arguments})
        return {name: value.to(self.device) for name, value in inputs.items()}

    def _encoded(self, text: str) -> dict[str, Tensor]:
        """Embeddings (1, ...) of a text on the CPU, computed once. Each text is a batch of its own: see the class."""
        if text in self._texts:
            self._texts.move_to_end(text)
            return self._texts[text]
        encode = self._pipeline.encode_prompt
        options = dict(prompt=text, device=self.device, num_images_per_prompt=1, do_classifier_free_guidance=False)
        known = inspect.signature(encode).parameters
        with noticing_truncation(encode) as truncated:
            outputs = encode(**{name: value for name, value in options.items() if name in known})
        if len(outputs) != len(self.prompt_outputs):
            raise ValueError(f'{type(self._pipeline).__name__}.encode_prompt gives {len(outputs)} values, '
                             f'prompt_outputs names {len(self.prompt_outputs)}: {self.prompt_outputs}')
        self.texts_encoded += 1
        if truncated:
            self._report_truncated(text)
        self._texts[text] = {name: value.cpu() for name, value in zip(self.prompt_outputs, outputs)
                             if name is not None}
        if len(self._texts) > self.max_cached_texts:
            self._texts.popitem(last=False)
        return self._texts[text]

    def _report_truncated(self, text: str) -> None:
        """Tell once that prompts are too long; thousands of texts may be."""
        self.texts_truncated += 1
        if self.texts_truncated == 1:
            print_log('a prompt is longer than the text encoder reads and is cut off at its end, as further ones may '
                      f'be, which is not said again: {text!r}', 'current', logging.WARNING)


def control_images(depth_views: Tensor, size: int, median_kernel: int = 7) -> Tensor:
    """Smooth depth views, invert them and resize them (method, section 2).

    ControlNet minds jagged edges more than CLIP does, hence the median filter, and expects bright = near.

    Args:
        depth_views: float (N, H, W) in [0, 1], background white, near is dark.
        size: Height and width of the control images in pixels.
        median_kernel: Odd; 1 leaves the filter out.

    Returns:
        float32 (N, 3, size, size) in [0, 1] on the CPU, background black, near is bright.
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


@contextmanager
def noticing_truncation(encode: Callable) -> Iterator[list[str]]:
    """Collect what diffusers and transformers warn of too long prompts within the block, in place of their logging it.

    They warn of each prompt, which is a line for each of many thousand texts.

    Args:
        encode: ``encode_prompt`` of a pipeline.
    """
    warnings: list[str] = []

    def keep(record: logging.LogRecord) -> bool:
        message = record.getMessage()
        too_long = 'truncated because' in message
        if too_long:
            warnings.append(message)
        return not too_long and 'Token indices sequence length' not in message

    loggers = [logging.getLogger(inspect.unwrap(getattr(encode, '__func__', encode)).__module__),
               logging.getLogger('transformers.tokenization_utils_base')]
    for logger in loggers:
        logger.addFilter(keep)
    try:
        yield warnings
    finally:
        for logger in loggers:
            logger.removeFilter(keep)
