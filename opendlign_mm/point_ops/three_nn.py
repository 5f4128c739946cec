"""The three nearest neighbors, and features interpolated from them (PointNet++, equation 2)."""
import torch
from torch import Tensor

from .ball_query import group_points
from .coordinates import check_xyz, mmcv_has_cuda

# Distances of one set that are sorted at once: bounds the temporaries to a few times 16 MB per set.
MAX_ELEMENTS_PER_CHUNK = 1 << 22


def three_nn(targets: Tensor, sources: Tensor) -> tuple[Tensor, Tensor]:
    """Find the three sources nearest to each target.

    Args:
        targets: Points, float (B, N, 3), N > 0.
        sources: Points, float (B, M, 3), M > 0.

    Returns:
        Distances, float32 (B, N, 3), ascending, not squared, and indices of sources, int64 (B, N, 3). Of equally near
        sources the one with the lower index comes first. With fewer than three sources the last is repeated.

    Raises:
        TypeError: ``targets`` or ``sources`` is not a floating point tensor.
        ValueError: ``targets`` or ``sources`` has another shape or no points.
    """
    check_xyz(targets, 'targets')
    check_xyz(sources, 'sources')
    targets, sources = targets.detach().float().contiguous(), sources.detach().float().contiguous()
    if targets.is_cuda and mmcv_has_cuda() and sources.shape[1] >= 3:
        from mmcv.ops import three_nn as mmcv_three_nn
        distances, indices = mmcv_three_nn(targets, sources)
        return distances, indices.long()
    parts = []
    for part in targets.split(max(1, MAX_ELEMENTS_PER_CHUNK // sources.shape[1]), dim=1):
        dx, dy, dz = (part[:, :, None] - sources[:, None]).unbind(dim=3)
        squared, indices = (dx * dx + dy * dy + dz * dz).sort(dim=2, stable=True)
        parts.append((squared[..., :3].sqrt(), indices[..., :3]))
    distances, indices = (torch.cat(values, dim=1) for values in zip(*parts, strict=True))
    places = torch.arange(3, device=targets.device).clamp(max=sources.shape[1] - 1)
    return distances[..., places], indices[..., places]


def interpolate_features(targets: Tensor, sources: Tensor, features: Tensor) -> Tensor:
    """Average the features of the three sources nearest to each target, weighted by inverse distance.

    Args:
        targets: Points, float (B, N, 3).
        sources: Points, float (B, M, 3).
        features: Features of the sources, float (B, M, C).

    Returns:
        Features at the targets, float (B, N, C); gradients flow to ``features``.
    """
    distances, indices = three_nn(targets, sources)
    weights = 1 / (distances + 1e-8)
    weights = weights / weights.sum(dim=2, keepdim=True)
    return (group_points(features, indices) * weights[..., None].to(features)).sum(dim=2)
