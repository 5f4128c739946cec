"""Procedural patterns for pictures: value noise, stripes, checks. Everything is (N, H, W), one pattern an image."""
from typing import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor


def value_noise(rngs: Sequence[np.random.Generator], size: int, cells: int, stretch: int = 1) -> Tensor:
    """Smooth noise in [0, 1]: random values on a ``cells`` x ``cells / stretch`` lattice, interpolated.

    Args:
        rngs: One generator an image.
        size: Height and width in pixels.
        cells: Lattice cells along the width; more means finer.
        stretch: How much longer than wide the grain is (wood, brushed metal).

    Returns:
        float32 (N, size, size).
    """
    rows = max(cells // stretch, 2)
    lattice = np.stack([rng.random((rows, max(cells, 2)), dtype=np.float32) for rng in rngs])
    return F.interpolate(torch.from_numpy(lattice)[:, None], (size, size), mode='bilinear',
                         align_corners=False)[:, 0]


def waves(size: int, angle: Tensor, period: Tensor, phase: Tensor, sharp: Tensor) -> Tensor:
    """Stripes in [0, 1] across ``angle`` (radians) with ``period`` (pixels); ``sharp`` in [0, 1] hardens the edges.

    All parameters are (N,); returns (N, size, size).
    """
    axis = torch.arange(size, dtype=torch.float32)
    along = (axis[None, None, :] * torch.cos(angle)[:, None, None] +
             axis[None, :, None] * torch.sin(angle)[:, None, None])
    wave = torch.sin(2 * np.pi * (along / period[:, None, None] + phase[:, None, None]))
    return .5 + .5 * torch.tanh(wave * (1 + 8 * sharp[:, None, None])) / torch.tanh(1 + 8 * sharp[:, None, None])
