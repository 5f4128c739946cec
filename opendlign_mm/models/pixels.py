"""Pixels of views on their way from a data loader to a CLIP: batches, checked range, mean and standard deviation."""
import warnings
from collections.abc import Sequence
from typing import Any, Literal

import open_clip
import torch
from mmdet3d.registry import MODELS
from mmengine.model import BaseDataPreprocessor

from ..structures import STORED_TOKENS
from .clip_loading import PACKAGED_CLIPS

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
# The CLIPs of the paper, whose released models normalize with ImageNet's statistics, not with CLIP's.
PAPER_CLIPS = ('ViT-H-14-quickgelu', 'ViT-L-14-quickgelu', 'ViT-B-16', 'ViT-B-32')
PixelStatistic = Sequence[float] | Literal['default', 'imagenet', 'clip'] | None
Statistics = tuple[tuple[float, ...], tuple[float, ...]]


# --- batches ----------------------------------------------------------------------------------------------------------

@MODELS.register_module()
class ViewDataPreprocessor(BaseDataPreprocessor):
    """Stacks the views of the samples of a batch; pixel normalization belongs to the backbone."""

    def forward(self, data: dict, training: bool = False) -> dict:
        """Stack, move and scale the inputs of a batch.

        Args:
            data: Batch of a data loader. ``inputs`` has per sample ``depth_views`` (V, H, W) and optionally ``images``
                (V, 3, H, W), each float in [0, 1] or uint8, or ``image_features`` float (V, D); and ``color_views``
                (V, 3, H, W) with ``has_color`` bool (); or stored tokens in the place of ``depth_views``, which stay in
                their dtype. ``data_samples`` is optional.
            training: Not used.

        Returns:
            ``inputs``: dict with ``depth_views`` (B, V, H, W), ``images`` (B, V, 3, H, W) and ``image_features``
            (B, V, D), as far as they were given, float32, uint8 pixels divided by 255; ``has_color`` is bool (B,).
            ``data_samples``: the list of samples, or None.

        Raises:
            ValueError: The samples of the batch differ in shape or in the inputs that they have.
        """
        inputs = data['inputs']
        if isinstance(inputs, Sequence):  # one dict per sample
            keys = set(inputs[0])
            if any(set(sample) != keys for sample in inputs):
                found = sorted({', '.join(sorted(sample)) for sample in inputs})
                raise ValueError(f'the samples of a batch have different inputs: {found}')
            inputs = {key: [sample[key] for sample in inputs] for key in inputs[0]}
        samples = data.get('data_samples')
        stacked = {key: self._batch(key, value, samples) for key, value in inputs.items()}
        return dict(inputs=stacked, data_samples=self.cast_data(samples))

    def _batch(self, key: str, values: torch.Tensor | Sequence[torch.Tensor], samples: Sequence | None) -> Any:
        if not isinstance(values, torch.Tensor):
            shapes = sorted({tuple(value.shape) for value in values})
            if len(shapes) > 1:
                odd = next(index for index, value in enumerate(values) if value.shape != values[0].shape)
                names = [getattr(samples[index], 'sample_id', index) if samples else index for index in (0, odd)]
                raise ValueError(f"'{key}' of one batch must have one shape, got {shapes}, first in samples {names[0]} "
                                 f'and {names[1]}; use one resolution and one number of views for all samples')
            if len({value.dtype for value in values}) > 1:  # torch.stack would take bytes for floats
                values = [_unit_floats(value) for value in values]
            values = torch.stack(list(values))
        # uint8 is a quarter of the bytes to move, and stored tokens stay in their dtype.
        values = self._moved(values)
        return values if values.dtype == torch.bool or key in STORED_TOKENS else _unit_floats(values)

    def _moved(self, values: torch.Tensor) -> torch.Tensor:
        """Return values on the device; from pinned memory the host does not wait for them, nor for earlier work."""
        return values.to(self.device, non_blocking=self._non_blocking or values.is_pinned())


@MODELS.register_module()
class PointDataPreprocessor(ViewDataPreprocessor):
    """Stacks the points of the samples of a batch and what they are aligned with; see :meth:`forward`."""

    def forward(self, data: dict, training: bool = False) -> dict:
        """Stack, move and scale the inputs of a batch.

        Args:
            data: Batch of a data loader. ``inputs`` has per sample ``points`` float (N, 3) and optionally ``colors``
                (N, 3), float in [0, 1] or uint8; ``images`` (P, 3, H, W) or ``image_features`` float (P, D);
                ``text_features`` float (D,); ``has_text`` bool (). ``data_samples`` is optional.
            training: Not used.

        Returns:
            ``inputs``: dict of float32 batches, bytes divided by 255; ``points`` and ``colors`` are lists of B tensors
            (N_i, 3) where the clouds differ in size; ``has_text`` is bool (B,). ``data_samples``: the list of samples,
            or None.

        Raises:
            ValueError: The samples of the batch differ in the inputs that they have, or in another shape.
        """
        return super().forward(data, training)

    def _batch(self, key: str, values: torch.Tensor | Sequence[torch.Tensor], samples: Sequence | None) -> Any:
        if key in ('points', 'colors') and not isinstance(values, torch.Tensor):
            if len({len(value) for value in values}) > 1:
                return [_unit_floats(self._moved(value)) for value in values]
        return super()._batch(key, values, samples)


def _unit_floats(values: torch.Tensor) -> torch.Tensor:
    """Return pixels as float32, bytes divided by 255."""
    if values.dtype != torch.uint8:
        return values.float()
    # By a tensor: CUDA multiplies by the rounded reciprocal of a number, and pixels would differ from those of the CPU.
    return values.float() / torch.tensor(255., device=values.device)


# --- range ------------------------------------------------------------------------------------------------------------

def checked_views(views: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return views as float tensors in [0, 1].

    Args:
        views: Views of B objects, (B, V, H, W) or (B, V, 3, H, W), floating point in [0, 1] or uint8, by their names
            in messages.

    Raises:
        ValueError: Views have a wrong shape or values outside [0, 1], or all pixels of a view are 0.
        TypeError: Views are neither floating point nor uint8.
    """
    scaled = {}
    for name, values in views.items():
        if not (values.ndim == 4 or values.ndim == 5 and values.shape[2] == 3):
            raise ValueError(f'{name} must have shape (B, V, H, W) or (B, V, 3, H, W), got {tuple(values.shape)}')
        if not values.is_floating_point() and values.dtype != torch.uint8:
            raise TypeError(f'{name} must be floating point in [0, 1] or uint8, got {values.dtype}')
        scaled[name] = _unit_floats(values) if values.dtype == torch.uint8 else values
    check_pixels(**scaled)
    return scaled


def check_pixels(**views: torch.Tensor) -> None:
    """Refuse views that are not images in [0, 1]. It costs one synchronization with the device for all of them.

    Args:
        views: Float tensors (B, V, ...) of pixels by their names in the message.

    Raises:
        ValueError: A value is NaN or outside [0, 1], or all values of a view are 0.
    """
    extremes = {name: values.flatten(2).aminmax(dim=-1) for name, values in views.items() if values.numel()}
    if not extremes:
        return
    # NaN survives each minimum and maximum.
    found = torch.stack([torch.stack([low.min(), high.max(), high.min()]) for low, high in extremes.values()]).tolist()
    for name, (low, high, darkest) in zip(extremes, found, strict=True):
        if not (low >= -1e-3 and high <= 1 + 1e-3):
            bad = extremes[name]
            raise ValueError(f'{name} must be in [0, 1], got values from {low:g} to {high:g} '
                             f'({_first(~((bad.min >= -1e-3) & (bad.max <= 1 + 1e-3)))}); divide 8-bit images by 255 '
                             'or pass them as uint8')
        if darkest <= 0:
            raise ValueError(f'{name} must not be empty: all pixels are 0 in {_first(extremes[name].max <= 0)}; check '
                             'what the pipeline loads or renders')


def _first(flags: torch.Tensor) -> str:
    sample, view = flags.nonzero()[0].tolist()
    return f'view {view} of sample {sample} of the batch'


# --- statistics -------------------------------------------------------------------------------------------------------

def clip_pixel_statistics(clip: str, pretrained: str | None, config: dict) -> Statistics | None:
    """Return the mean and standard deviation per RGB channel that a CLIP was trained with; None if unknown.

    Args:
        clip: Name of the model.
        pretrained: open_clip tag of its weights. For anything else the tags of the model count, if all agree.
        config: Configuration of the model; ``preprocess_cfg`` in it, as in open_clip's files on the Hugging Face hub,
            comes first.
    """
    stated = config.get('preprocess_cfg') or {}
    if 'mean' in stated and 'std' in stated:
        return tuple(stated['mean']), tuple(stated['std'])
    if clip in PACKAGED_CLIPS:
        return IMAGENET_MEAN, IMAGENET_STD
    tags = open_clip.list_pretrained_tags_by_model(clip)
    of_tags = {tag: (tuple(cfg['mean']), tuple(cfg['std'])) for tag in tags
               if 'mean' in (cfg := open_clip.get_pretrained_cfg(clip, tag))}
    if pretrained in of_tags:
        return of_tags[pretrained]
    return next(iter(of_tags.values())) if len(set(of_tags.values())) == 1 else None


def resolve_pixel_statistics(mean: PixelStatistic, std: PixelStatistic, clip: str, pretrained: str | None,
                             config: dict) -> Statistics | None:
    """Return the mean and standard deviation that the options stand for; None for images that are normalized already.

    Args:
        mean: Numbers per RGB channel, ``'clip'``, ``'imagenet'``, None, or ``'default'``: ImageNet's, with a warning
            where the CLIP is not one of the paper's and was trained with others.
        std: The same of the standard deviation.
        clip: See :func:`clip_pixel_statistics`, likewise ``pretrained`` and ``config``.
        pretrained: open_clip tag or file of the weights.
        config: Configuration of the model.

    Raises:
        ValueError: An option does not exist, or ``'clip'`` is asked for and the statistics of the CLIP are unknown.
    """
    if mean is None:
        return None
    own = clip_pixel_statistics(clip, pretrained, config)
    values = []
    for index, (name, option) in enumerate((('pixel_mean', mean), ('pixel_std', std))):
        if option == 'clip' and own is None:
            raise ValueError(f"{name}='clip': the pixel statistics of CLIP '{clip}' with pretrained={pretrained!r} are "
                             f'not known; give three numbers')
        if option in ('default', 'imagenet'):
            option = (IMAGENET_MEAN, IMAGENET_STD)[index]
        elif option == 'clip' and own is not None:
            option = own[index]
        elif option is None or isinstance(option, str) or len(option) != 3:
            raise ValueError(f"{name} must be three numbers, 'clip', 'imagenet' or 'default', got {option!r}")
        values.append(tuple(float(value) for value in option))
    chosen = (values[0], values[1])
    unstated = 'default' in (mean, std) and clip not in PAPER_CLIPS and pretrained is not None
    if unstated and own != chosen:
        trained = 'unknown ones' if own is None else f'mean {own[0]} and standard deviation {own[1]}'
        warnings.warn(f"CLIP '{clip}' with pretrained={pretrained!r} was trained with pixels of {trained}, OpenDlign "
                      f"normalizes with ImageNet's, mean {chosen[0]} and standard deviation {chosen[1]}; state the "
                      "choice: pixel_mean='clip', pixel_std='clip', or 'imagenet' for both", stacklevel=3)
    return chosen
