"""Furthest point sampling: each point is the one furthest from all points chosen before."""

import numba as nb
import numpy as np
import torch
from torch import Tensor

from .checks import check_xyz, mmcv_has_cuda

# Squared meters within which pointnet2's CUDA kernel takes a point for padding.
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


def sample_by_torch(xyz: Tensor, num_samples: int, skipped: Tensor | None = None) -> Tensor:
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
    sets = [sample_furthest(points, num_samples, NEAR_ORIGIN if skip_near_origin else -1.) for points in xyz.numpy()]
    return torch.from_numpy(np.stack(sets))


BLOCK = 64
# The bound and the distances are rounded differently: only a bound that is clearly larger rules a block out.
SLACK = np.float32(1 - 1e-5)


def sample_furthest(xyz: np.ndarray, num_samples: int, near_origin: float = -1.) -> np.ndarray:
    """Indices of furthest points of one set.

    Args:
        xyz: float32 (N, 3).
        num_samples: M.
        near_origin: Points whose squared norm is at most this are never chosen, but for the first.

    Returns:
        int64 (M,).
    """
    order = _spatial_order(xyz)
    return _sample(np.ascontiguousarray(xyz[order].T), order, xyz[0], num_samples, np.float32(near_origin))


def _spatial_order(xyz: np.ndarray) -> np.ndarray:
    """An order in which neighbors in space mostly are neighbors in the list: that of a k-d tree's leaves."""
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


@nb.njit(nogil=True, cache=True)
def _sample(xyz, order, first, num_samples, near_origin):
    """``xyz`` (3, N) sorted by ``order``; returns original indices."""
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
                    # Among equals the lowest original index wins, whatever the order here.
                    if distance[i] == largest[block] and (distance[i] > best or order[i] < best_index):
                        best, best_index, best_place = distance[i], order[i], i
        chosen[number] = best_index
        x, y, z = xyz[0, best_place], xyz[1, best_place], xyz[2, best_place]
    return chosen
