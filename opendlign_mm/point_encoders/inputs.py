"""Inputs that the point encoders share: batches of clouds of equal or different sizes, with or without colors."""
from collections.abc import Sequence

import torch
from torch import Tensor

Clouds = Tensor | Sequence[Tensor]


def as_clouds(points: Clouds, colors: Clouds | None, missing_color: float | None) -> list[Tensor]:
    """Check a batch of clouds and append its colors.

    Args:
        points: (B, N, 3), or B tensors (N_i, 3), floating point, finite.
        colors: Colors in [0, 1] of the same shapes, or None.
        missing_color: Gray value in [0, 1] of clouds without colors; None if the encoder uses no colors, in which case
            ``colors`` is ignored.

    Returns:
        B float32 tensors: (N_i, 3), or (N_i, 6) with colors.

    Raises:
        TypeError: A cloud is not a floating point tensor.
        ValueError: A cloud is empty, has another shape or non-finite values, or its colors do not match; the message
            names the cloud.
    """
    points = list(points)
    if not points:
        raise ValueError('points has no clouds; a batch needs at least one')
    if colors is not None and len(colors) != len(points):
        raise ValueError(f'{len(points)} clouds but colors of {len(colors)}')
    clouds = []
    for index, xyz in enumerate(points):
        _check(xyz, f'cloud {index}')
        cloud = xyz.float()
        if missing_color is not None:
            if colors is None:
                rgb = torch.full_like(cloud, missing_color)
            else:
                rgb = _checked_colors(colors[index], xyz, f'colors of cloud {index}')
            cloud = torch.cat([cloud, rgb], dim=1)
        clouds.append(cloud)
    return clouds


def _check(values: Tensor, name: str) -> None:
    if not isinstance(values, Tensor) or not values.is_floating_point():
        kind = getattr(values, 'dtype', type(values).__name__)
        raise TypeError(f'{name} must be a floating point tensor, got {kind}')
    if values.dim() != 2 or values.shape[1] != 3 or not len(values):
        raise ValueError(f'{name} must have shape (N, 3) with N >= 1, got {tuple(values.shape)}')
    if not torch.isfinite(values).all():
        raise ValueError(f'{name} has non-finite values; remove those points')


def _checked_colors(colors: Tensor, xyz: Tensor, name: str) -> Tensor:
    _check(colors, name)
    if colors.shape != xyz.shape:
        raise ValueError(f'{name} must have shape {tuple(xyz.shape)} as its points, got {tuple(colors.shape)}')
    if colors.min() < 0 or colors.max() > 1:
        raise ValueError(f'{name} must lie in [0, 1], got {float(colors.min()):.3g} to {float(colors.max()):.3g}; '
                         'divide 8-bit colors by 255')
    return colors.float().to(xyz.device)
