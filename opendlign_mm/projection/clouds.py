"""What every projection accepts as points."""
from typing import List, Sequence, Union

import torch
from torch import Tensor


def checked_clouds(points: Union[Tensor, Sequence[Tensor]]) -> List[Tensor]:
    """A batch of clouds as a list.

    Args:
        points: (B, N, 3) float tensor, or a list of B tensors (N_i, 3).

    Raises:
        TypeError: ``points`` is not a float tensor or a list of float tensors.
        ValueError: A shape other than (N, 3), or non-finite coordinates; the message counts them.
    """
    if isinstance(points, Tensor):
        if points.dim() != 3 or points.shape[-1] != 3:
            raise ValueError(f'points must have shape (B, N, 3), got {tuple(points.shape)}; '
                             'use points[None, :, :3] for one cloud')
        clouds = list(points)
    elif isinstance(points, (list, tuple)) and all(isinstance(cloud, Tensor) for cloud in points):
        clouds = list(points)
    else:
        raise TypeError(f'points must be a (B, N, 3) tensor or a list of (N_i, 3) tensors, got {type(points).__name__}')
    for index, cloud in enumerate(clouds):
        if cloud.dim() != 2 or cloud.shape[1] != 3:
            raise ValueError(f'cloud {index} must have shape (N, 3), got {tuple(cloud.shape)}')
        if not cloud.is_floating_point():
            raise TypeError(f'cloud {index} must be a float tensor, got {cloud.dtype}')
        bad = int((~torch.isfinite(cloud).all(1)).sum())
        if bad:
            raise ValueError(f'cloud {index} has {bad} of {len(cloud)} points with NaN or infinite coordinates; '
                             'remove them before the projection')
    return clouds
