"""Checks of the input of point operations."""
import torch
from torch import Tensor


class BrokenSceneError(ValueError):
    """A scene whose points or boxes cannot be used; other scenes of the dataset may well be."""


def check_points(points: Tensor, name: str = 'scene') -> None:
    """Check that ``points`` is a usable point cloud: float (N, >=3), N > 0, finite coordinates.

    Raises:
        TypeError: if it is no floating point tensor.
        BrokenSceneError: no points, or non-finite coordinates; the message counts them.
        ValueError: for another shape.
    """
    if not isinstance(points, Tensor) or not points.is_floating_point():
        raise TypeError(f'{name}: points must be a floating point tensor, got '
                        f'{points.dtype if isinstance(points, Tensor) else type(points).__name__}')
    if points.dim() != 2 or points.shape[1] < 3:
        raise ValueError(f'{name}: points must have shape (N, >=3), got {tuple(points.shape)}')
    if len(points) == 0:
        raise BrokenSceneError(f'{name}: there are no points; check the file and the filters of the pipeline')
    bad = int((~torch.isfinite(points[:, :3])).any(dim=1).sum())
    if bad:
        raise BrokenSceneError(f'{name}: {bad} of {len(points)} points have non-finite coordinates; remove them from '
                               'the file or in the pipeline')


def check_xyz(xyz: Tensor, name: str = 'xyz') -> None:
    """Check that ``xyz`` is a batch of point sets: float (B, N, 3), N > 0.

    Raises:
        TypeError: no floating point tensor.
        ValueError: another shape, or no points.
    """
    if not isinstance(xyz, Tensor) or not xyz.is_floating_point():
        raise TypeError(f'{name} must be a floating point tensor, got {getattr(xyz, "dtype", type(xyz).__name__)}')
    if xyz.dim() != 3 or xyz.shape[2] != 3:
        raise ValueError(f'{name} must have shape (B, N, 3), got {tuple(xyz.shape)}')
    if xyz.shape[1] == 0:
        raise ValueError(f'{name} holds no points')


def mmcv_has_cuda() -> bool:
    """Whether mmcv was compiled with its CUDA operations; they replace ours where they do the same."""
    try:
        from mmcv.ops import get_compiling_cuda_version
        return get_compiling_cuda_version() != 'not available'
    except ImportError:  # mmcv-lite
        return False
