"""Ball query, which finds the first points within a radius of each center, and grouping (PointNet++, section 3.2).

On the CPU points are sorted into cubic cells as wide as the radius, so that the 27 cells around a center hold all
candidates. On CUDA, mmcv's kernel is used where mmcv has one, PyTorch elsewhere.
"""
import numpy as np
import torch
from torch import Tensor

from ..compiled import compiled
from .coordinates import check_xyz, mmcv_has_cuda

# Distances computed at once by query_by_torch: bounds its temporaries to a few times 64 MB.
MAX_ELEMENTS_PER_CHUNK = 1 << 24


def ball_query(xyz: Tensor, centers: Tensor, radius: float, num_samples: int) -> Tensor:
    """Find the first points, in the order of their indices, that lie within a radius of each center.

    Args:
        xyz: Point sets, float (B, N, 3), N > 0.
        centers: Centers of the balls, float (B, M, 3).
        radius: Radius of the balls, > 0; a point at exactly this distance is outside.
        num_samples: Number S > 0 of points per ball. Where fewer are found the first one is repeated; where none is
            found, index 0.

    Returns:
        Indices of points, int64 (B, M, S), on the device of ``xyz``.

    Raises:
        TypeError: ``xyz`` or ``centers`` is not a floating point tensor.
        ValueError: ``xyz`` or ``centers`` has another shape or no points, or a number is out of range.
    """
    check_xyz(xyz)
    check_xyz(centers, 'centers')
    if len(xyz) != len(centers):
        raise ValueError(f'{len(xyz)} point sets but {len(centers)} sets of centers')
    if radius <= 0 or num_samples < 1:
        raise ValueError(f'radius must be > 0 and num_samples >= 1, got {radius} and {num_samples}')
    xyz, centers = xyz.detach().float().contiguous(), centers.detach().float().contiguous()
    if xyz.is_cuda and mmcv_has_cuda():
        from mmcv.ops import ball_query as mmcv_query
        return mmcv_query(0, radius, num_samples, xyz, centers).long()
    if xyz.is_cuda:
        return query_by_torch(xyz, centers, radius, num_samples)
    squared_radius = torch.tensor(radius).square().item()
    found = [query_by_cells(points, middles, squared_radius, num_samples)
             for points, middles in zip(xyz.numpy(), centers.numpy(), strict=True)]
    return torch.stack([torch.from_numpy(indices) for indices in found])


def gather_points(values: Tensor, indices: Tensor) -> Tensor:
    """Take rows of each set by index.

    Args:
        values: Points or features, (B, N, C).
        indices: Indices of rows in [0, N), int64 (B, M).

    Returns:
        (B, M, C); gradients flow to ``values``.
    """
    return values.gather(1, indices[..., None].expand(-1, -1, values.shape[2]))


def group_points(values: Tensor, indices: Tensor) -> Tensor:
    """Take groups of rows of each set by index.

    Args:
        values: Points or features, (B, N, C).
        indices: Indices of rows in [0, N), int64 (B, M, S), as :func:`ball_query` returns them.

    Returns:
        (B, M, S, C); gradients flow to ``values``.
    """
    return gather_points(values, indices.flatten(1)).unflatten(1, indices.shape[1:])


def query_by_torch(xyz: Tensor, centers: Tensor, radius: float, num_samples: int) -> Tensor:
    """Find the same points in plain PyTorch on any device, in chunks of centers."""
    num_points = xyz.shape[1]
    squared_radius = torch.tensor(radius, device=xyz.device).square()
    indices = torch.arange(num_points, device=xyz.device)
    chunk = max(1, MAX_ELEMENTS_PER_CHUNK // (num_points * len(xyz)))
    found = []
    for middles in centers.split(chunk, dim=1):
        dx, dy, dz = (middles[:, :, None] - xyz[:, None]).unbind(dim=3)
        inside = dx * dx + dy * dy + dz * dz < squared_radius
        hits = torch.where(inside, indices, num_points)
        hits = hits.topk(min(num_samples, num_points), dim=2, largest=False, sorted=True).values
        if hits.shape[2] < num_samples:
            hits = torch.nn.functional.pad(hits, (0, num_samples - hits.shape[2]), value=num_points)
        first = hits[..., :1].where(hits[..., :1] < num_points, 0)
        found.append(hits.where(hits < num_points, first))
    return torch.cat(found, dim=1)


def query_by_cells(xyz: np.ndarray, centers: np.ndarray, squared_radius: float, num_samples: int) -> np.ndarray:
    """Find the first points in each ball of one set on the CPU.

    Args:
        xyz: Points, float32 (N, 3).
        centers: Centers, float32 (M, 3).
        squared_radius: Squared radius, rounded to float32.
        num_samples: Number S of points per ball.

    Returns:
        Indices of points, int64 (M, S).
    """
    # A little wider than the radius: rounding must not put a neighbor two cells away.
    width = np.sqrt(np.float64(squared_radius)) * 1.001
    origin = xyz.min(axis=0).astype(np.float64)
    extent = xyz.max(axis=0) - origin
    width = max(width, float(extent.max()) / 256)  # bounds the number of cells; wider cells hold all candidates, too
    shape = (extent / width).astype(np.int64) + 1
    cells = np.minimum(((xyz - origin) / width).astype(np.int64), shape - 1)
    flat = (cells[:, 0] * shape[1] + cells[:, 1]) * shape[2] + cells[:, 2]
    order = np.argsort(flat, kind='stable')  # within a cell points keep the order of their indices
    starts = np.searchsorted(flat[order], np.arange(shape.prod() + 1))
    return _first_in_balls(xyz, centers, np.float32(squared_radius), num_samples, origin, width, shape, order, starts)


@compiled()
def _first_in_balls(xyz, centers, squared_radius, num_samples, origin, width, shape, order, starts):
    """Return the result of :func:`query_by_cells` for points sorted into cells.

    ``order[starts[c]:starts[c + 1]]`` are the indices of the points in cell ``c`` of a grid of ``shape`` cells.
    """
    indices = np.zeros((centers.shape[0], num_samples), np.int64)
    hits = np.empty(xyz.shape[0], np.int64)
    low, high = np.empty(3, np.int64), np.empty(3, np.int64)
    for m in range(centers.shape[0]):
        for axis in range(3):
            # A center far outside has no neighbors; its cell must not overflow.
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
