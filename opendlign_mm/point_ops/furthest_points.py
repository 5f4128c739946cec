"""Furthest point sampling: each next point is the one furthest from all points chosen so far."""
from typing import Optional

import numpy as np
import torch
from torch import Tensor

from .checks import check_xyz, mmcv_has_cuda

# Squared metres within which pointnet2's CUDA kernel takes a point for padding.
NEAR_ORIGIN = 1e-3


def furthest_point_sample(xyz: Tensor, num_samples: int, skip_near_origin: bool = False) -> Tensor:
    """Choose points that cover each set evenly.

    The first is the point of index 0; of several furthest points the one with the lowest index is taken. Where there
    are fewer distinct points than samples, points repeat. Distances are those of float32.

    Args:
        xyz: float (B, N, 3), N > 0, finite.
        num_samples: M > 0.
        skip_near_origin: Never choose a point whose squared norm is at most 1e-3 (but the first), as the CUDA kernel of
            pointnet2 does. Networks trained with that kernel saw such samples.

    Returns:
        int64 (B, M), indices of the points in the order in which they were chosen, on the device of ``xyz``.

    Raises:
        TypeError, ValueError: Input of another kind or shape, no points, or ``num_samples`` below 1.
    """
    check_xyz(xyz)
    if num_samples < 1:
        raise ValueError(f'num_samples must be >= 1, got {num_samples}')
    xyz = xyz.detach().float().contiguous()
    if not xyz.is_cuda:
        return _sample_on_cpu(xyz, num_samples, skip_near_origin)
    skipped = (xyz**2).sum(dim=2) <= NEAR_ORIGIN if skip_near_origin else None
    if mmcv_has_cuda() and num_samples <= xyz.shape[1] and (skipped is None or not skipped.any()):
        from mmcv.ops import furthest_point_sample as mmcv_sample
        return mmcv_sample(xyz, num_samples).long()
    return sample_by_torch(xyz, num_samples, skipped)


def sample_by_torch(xyz: Tensor, num_samples: int, skipped: Optional[Tensor] = None) -> Tensor:
    """The same in plain PyTorch, for any device: a few kernels for each sample, all sets at once.

    Args:
        xyz: float32 (B, N, 3).
        num_samples: M.
        skipped: bool (B, N), points never to choose.
    """
    distance = xyz.new_full(xyz.shape[:2], torch.inf)
    if skipped is not None:
        distance[skipped] = -1
    chosen = torch.zeros(len(xyz), num_samples, dtype=torch.long, device=xyz.device)
    indices = torch.arange(xyz.shape[1], device=xyz.device)
    x, y, z = xyz.unbind(dim=2)
    for number in range(1, num_samples):
        last = xyz.gather(1, chosen[:, number - 1, None, None].expand(-1, 1, 3))
        dx, dy, dz = x - last[..., 0], y - last[..., 1], z - last[..., 2]
        torch.minimum(distance, dx * dx + dy * dy + dz * dz, out=distance)
        # Not argmax, which promises no order among equals.
        furthest = distance == distance.amax(dim=1, keepdim=True)
        chosen[:, number] = torch.where(furthest, indices, xyz.shape[1]).amin(dim=1)
    return chosen


def _sample_on_cpu(xyz: Tensor, num_samples: int, skip_near_origin: bool) -> Tensor:
    from .furthest_points_numba import sample_furthest  # numba is needed on the CPU only
    sets = [sample_furthest(points, num_samples, NEAR_ORIGIN if skip_near_origin else -1.) for points in xyz.numpy()]
    return torch.from_numpy(np.stack(sets))
