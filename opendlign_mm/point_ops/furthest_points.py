"""Furthest point sampling: each sample is the point furthest from all samples chosen before (PointNet++, section 3.2).

On the CPU the sampling is exact without looking at every point for every sample. Points are sorted into small blocks of
neighbors. A block keeps its bounding box and the largest distance of its points to the samples. A new sample whose
distance to the box is larger than that cannot change any of them, so the block is skipped; after the first hundred
samples nearly all blocks are. On CUDA, mmcv's kernel is used where it does the same, PyTorch elsewhere.
"""
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from ..compiled import compiled
from .coordinates import check_xyz, mmcv_has_cuda

# Squared norm up to which pointnet2's CUDA kernel treats a point as padding.
NEAR_ORIGIN = 1e-3
# Points of a block of neighbors on the CPU.
BLOCK = 64
# The distance to a box and those to its points round differently: only a clearly larger one rules a block out.
SLACK = np.float32(1 - 1e-5)


def furthest_point_sample(xyz: Tensor, num_samples: int, skip_near_origin: bool = False) -> Tensor:
    """Choose points that cover each set evenly.

    The first sample is the point of index 0; of several furthest points the one with the lowest index is taken, by
    mmcv's kernel on CUDA any of them. Where there are fewer distinct points than samples, points repeat. Distances are
    computed in float32.

    Args:
        xyz: Point sets, float (B, N, 3), N > 0, finite.
        num_samples: Number M > 0 of samples.
        skip_near_origin: Whether to never choose a point whose squared norm is at most 1e-3, except as the first
            sample. The CUDA kernel of pointnet2 does this, and networks trained with it saw such samples.

    Returns:
        int64 (B, M), indices of the points in the order in which they were chosen, on the device of ``xyz``.

    Raises:
        TypeError: ``xyz`` is not a floating point tensor.
        ValueError: ``xyz`` has another shape or no points, or ``num_samples`` is below 1.
    """
    check_xyz(xyz)
    if num_samples < 1:
        raise ValueError(f'num_samples must be >= 1, got {num_samples}')
    xyz = xyz.detach().float().contiguous()
    if not xyz.is_cuda:
        near_origin = NEAR_ORIGIN if skip_near_origin else -1.
        return torch.from_numpy(np.stack([sample_furthest(points, num_samples, near_origin) for points in xyz.numpy()]))
    return sample_on_gpu(xyz, num_samples, (xyz**2).sum(dim=2) <= NEAR_ORIGIN if skip_near_origin else None)


def sample_on_gpu(xyz: Tensor, num_samples: int, skipped: Tensor | None = None) -> Tensor:
    """Sample all sets at once, with mmcv's kernel where mmcv has one.

    The kernels know no points to skip, and a loop in Python would launch 30,000 of them. Instead skipped points are
    moved to the first sample: at distance 0 from it they are never the furthest, unless all points are.

    Args:
        xyz: Point sets, float32 (B, N, 3).
        num_samples: Number M of samples.
        skipped: Points never to choose, except as the first sample, bool (B, N).

    Returns:
        int64 (B, M), as :func:`furthest_point_sample`.
    """
    sample: Callable[[Tensor, int], Tensor] = sample_by_torch
    if mmcv_has_cuda() and num_samples <= xyz.shape[1]:
        from mmcv.ops import furthest_point_sample as mmcv_sample
        sample = mmcv_sample
    if skipped is None:
        return sample(xyz, num_samples).long()
    chosen = sample(torch.where(skipped[..., None], xyz[:, :1], xyz), num_samples).long()
    # Where all usable points are exhausted, samples repeat the usable one of the lowest index.
    num_points = xyz.shape[1]
    usable = torch.where(skipped, num_points, torch.arange(num_points, device=xyz.device)).amin(dim=1, keepdim=True)
    usable = usable.where(usable < num_points, 0)
    repeats = skipped.gather(1, chosen)
    repeats[:, 0] = False
    return torch.where(repeats, usable, chosen)


def sample_by_torch(xyz: Tensor, num_samples: int) -> Tensor:
    """Sample in plain PyTorch on any device: a few kernels per sample, all sets at once.

    Args:
        xyz: Point sets, float32 (B, N, 3).
        num_samples: Number M of samples.

    Returns:
        int64 (B, M), as :func:`furthest_point_sample`.
    """
    distance = xyz.new_full(xyz.shape[:2], torch.inf)
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


def sample_furthest(xyz: np.ndarray, num_samples: int, near_origin: float = -1.) -> np.ndarray:
    """Sample one set on the CPU.

    Args:
        xyz: Points, float32 (N, 3).
        num_samples: Number M of samples.
        near_origin: Squared norm up to which points are never chosen, except as the first sample.

    Returns:
        int64 (M,).
    """
    order = _spatial_order(xyz)
    return _sample(np.ascontiguousarray(xyz[order].T), order, xyz[0], num_samples, np.float32(near_origin))


def _spatial_order(xyz: np.ndarray) -> np.ndarray:
    """Return indices that put neighbors in space close together: the order of the leaves of a k-d tree."""
    parts = [np.arange(len(xyz))]
    while len(parts[0]) > BLOCK:
        halves = []
        for part in parts:
            axis = np.ptp(xyz[part], axis=0).argmax()
            middle = (len(part) // (2 * BLOCK)) * BLOCK or len(part) // 2
            split = np.argpartition(xyz[part, axis], middle)
            halves += [part[split[:middle]], part[split[middle:]]]
        parts = halves
    return np.concatenate(parts)


@compiled()
def _sample(xyz, order, first, num_samples, near_origin):
    """Sample from ``xyz`` (3, N), which is sorted by ``order``; return indices of the original points."""
    count = xyz.shape[1]
    num_blocks = (count + BLOCK - 1) // BLOCK
    low, high = np.empty((num_blocks, 3), np.float32), np.empty((num_blocks, 3), np.float32)
    distance = np.empty(count, np.float32)
    largest = np.empty(num_blocks, np.float32)
    for block in range(num_blocks):
        start, stop = block * BLOCK, min(block * BLOCK + BLOCK, count)
        largest[block] = np.float32(-1)
        for axis in range(3):
            low[block, axis], high[block, axis] = xyz[axis, start:stop].min(), xyz[axis, start:stop].max()
        for i in range(start, stop):
            x, y, z = xyz[0, i], xyz[1, i], xyz[2, i]
            near = x * x + y * y + z * z <= near_origin
            distance[i] = np.float32(-1) if near else np.float32(np.inf)
            largest[block] = max(largest[block], distance[i])

    chosen = np.zeros(num_samples, np.int64)
    x, y, z = first[0], first[1], first[2]
    for number in range(1, num_samples):
        best, best_index, best_place = np.float32(-2), np.int64(0), 0
        for block in range(num_blocks):
            dx = max(low[block, 0] - x, x - high[block, 0], np.float32(0))
            dy = max(low[block, 1] - y, y - high[block, 1], np.float32(0))
            dz = max(low[block, 2] - z, z - high[block, 2], np.float32(0))
            start, stop = block * BLOCK, min(block * BLOCK + BLOCK, count)
            if (dx * dx + dy * dy + dz * dz) * SLACK < largest[block]:
                block_largest = np.float32(-1)
                for i in range(start, stop):
                    dx, dy, dz = xyz[0, i] - x, xyz[1, i] - y, xyz[2, i] - z
                    distance[i] = min(distance[i], dx * dx + dy * dy + dz * dz)
                    block_largest = max(block_largest, distance[i])
                largest[block] = block_largest
            if largest[block] >= best:
                for i in range(start, stop):
                    # Among equals the lowest original index wins, not the first in this order.
                    if distance[i] == largest[block] and (distance[i] > best or order[i] < best_index):
                        best, best_index, best_place = distance[i], order[i], i
        chosen[number] = best_index
        x, y, z = xyz[0, best_place], xyz[1, best_place], xyz[2, best_place]
    return chosen
