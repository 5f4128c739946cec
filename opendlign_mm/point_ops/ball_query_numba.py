"""Ball query on the CPU: points are hashed into cells as wide as the radius, so that 27 cells hold all candidates."""
import numba as nb
import numpy as np


def query(xyz: np.ndarray, centers: np.ndarray, squared_radius: float, num_samples: int) -> np.ndarray:
    """Indices of the first points in each ball.

    Args:
        xyz: float32 (N, 3).
        centers: float32 (M, 3).
        squared_radius: that of float32.
        num_samples: S.

    Returns:
        int64 (M, S).
    """
    # A little wider than the radius: rounding must not put a neighbour two cells away.
    width = np.sqrt(np.float64(squared_radius)) * 1.001
    origin = xyz.min(axis=0).astype(np.float64)
    extent = xyz.max(axis=0) - origin
    width = max(width, float(extent.max()) / 256)  # bounds the number of cells; wider ones hold all candidates, too
    shape = (extent / width).astype(np.int64) + 1
    cells = np.minimum(((xyz - origin) / width).astype(np.int64), shape - 1)
    flat = (cells[:, 0] * shape[1] + cells[:, 1]) * shape[2] + cells[:, 2]
    order = np.argsort(flat, kind='stable')  # within a cell points keep the order of their indices
    starts = np.searchsorted(flat[order], np.arange(shape.prod() + 1))
    return _query(xyz, centers, np.float32(squared_radius), num_samples, origin, width, shape, order, starts)


@nb.njit(nogil=True, cache=True)
def _query(xyz, centers, squared_radius, num_samples, origin, width, shape, order, starts):
    indices = np.zeros((centers.shape[0], num_samples), np.int64)
    hits = np.empty(xyz.shape[0], np.int64)
    low, high = np.empty(3, np.int64), np.empty(3, np.int64)
    for m in range(centers.shape[0]):
        for axis in range(3):
            # A centre far outside has no neighbours; its cell must not overflow.
            place = min(max((centers[m, axis] - origin[axis]) / width, -2.), shape[axis] + 1.)
            cell = np.int64(np.floor(place))
            low[axis], high[axis] = max(cell - 1, 0), min(cell + 2, shape[axis])
        count = 0
        for i in range(low[0], high[0]):
            for j in range(low[1], high[1]):
                row = (i * shape[1] + j) * shape[2]
                for n in range(starts[row + low[2]], starts[row + max(high[2], low[2])]):
                    index = order[n]
                    dx, dy = centers[m, 0] - xyz[index, 0], centers[m, 1] - xyz[index, 1]
                    dz = centers[m, 2] - xyz[index, 2]
                    if dx * dx + dy * dy + dz * dz < squared_radius:
                        hits[count] = index
                        count += 1
        if count:
            found = np.sort(hits[:count])
            for s in range(num_samples):
                indices[m, s] = found[s] if s < count else found[0]
    return indices
