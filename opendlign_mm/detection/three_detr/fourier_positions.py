"""Random Fourier features of positions (Tancik et al., NeurIPS 2020)."""
import math

import torch
from torch import Tensor, nn


class FourierPositions(nn.Module):
    """Sines and cosines of random projections of normalised coordinates.

    Args:
        channels (int): C, even. ``frequencies`` (3, C / 2) is drawn once and is part of the checkpoint.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        if channels % 2:
            raise ValueError(f'channels must be even, got {channels}')
        self.register_buffer('frequencies', torch.randn(3, channels // 2))

    def forward(self, normalized_xyz: Tensor) -> Tensor:
        """(B, N, 3), in [0, 1] within the scene's bounds -> (B, N, C)."""
        projected = 2 * math.pi * normalized_xyz @ self.frequencies
        return torch.cat([projected.sin(), projected.cos()], dim=-1)
