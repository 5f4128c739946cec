"""Neighbours within a radius."""
import torch
from torch import Tensor

from .checks import check_xyz, mmcv_has_cuda

MAX_ELEMENTS_PER_CHUNK = 1 << 24


def ball_query(xyz: Tensor, centers: Tensor, radius: float, num_samples: int) -> Tensor:
    """The first points, in the order of their indices, that lie within a radius of each centre.

    Args:
        xyz: float (B, N, 3), N > 0.
        centers: float (B, M, 3).
        radius: > 0; a point at exactly this distance is outside.
        num_samples: S > 0. Where fewer points are found the first is repeated; where none is, index 0.

    Returns:
        int64 (B, M, S), indices of points, on the device of ``xyz``.

    Raises:
        TypeError, ValueError: Input of another kind or shape, no points, or numbers out of range.
    """
    check_xyz(xyz)
    check_xyz(centers, 'centers')
    if len(xyz) != len(centers):
        raise ValueError(f'{len(xyz)} point sets but {len(centers)} sets of centres')
    if radius <= 0 or num_samples < 1:
        raise ValueError(f'radius must be > 0 and num_samples >= 1, got {radius} and {num_samples}')
    xyz, centers = xyz.detach().float().contiguous(), centers.detach().float().contiguous()
    if xyz.is_cuda and mmcv_has_cuda():
        from mmcv.ops import ball_query as mmcv_query
        return mmcv_query(0, radius, num_samples, xyz, centers).long()
    if xyz.is_cuda:
        return query_by_torch(xyz, centers, radius, num_samples)
    from .ball_query_numba import query  # numba is needed on the CPU only
    squared_radius = torch.tensor(radius).square().item()
    found = [query(points, middles, squared_radius, num_samples)
             for points, middles in zip(xyz.numpy(), centers.numpy())]
    return torch.stack([torch.from_numpy(indices) for indices in found])


def query_by_torch(xyz: Tensor, centers: Tensor, radius: float, num_samples: int) -> Tensor:
    """The same in plain PyTorch, for any device, in chunks of centres."""
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
