"""Furthest point sampling on the CPU, exact but without looking at every point for every sample.

Points are sorted into small blocks of neighbours. A block keeps its bounding box and the largest distance of its points
to the chosen ones; a new sample further from the box than that cannot change any of them. After the first hundred
samples nearly all blocks are left alone.
"""
import numba as nb
import numpy as np

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
    """An order in which neighbours in space mostly are neighbours in the list: that of a k-d tree's leaves."""
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
