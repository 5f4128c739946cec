"""Coordinates of points: checks of their values, and local coordinates for scenes far from the origin.

Networks and boxes of mmdet3d use float32, whose numbers near 1e6, as in UTM coordinates, are 6 cm apart. Detectors
therefore work relative to an offset near the scene, and add it to the boxes at the end. This needs points in float64:
files in float32, which mmdet3d's ``LoadPointsFromFile`` reads, have lost the shape of such a scene already
(:func:`check_points` refuses them).
"""
from __future__ import annotations

import copy
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from mmdet3d.structures import BaseInstance3DBoxes

# Meters between neighboring numbers above which a scene has lost its shape.
COARSE = 0.01
# Meters from the origin beyond which float32 coordinates are 1 mm apart or more.
FAR = 8192.


def check_points(points: Tensor, name: str = 'scene') -> None:
    """Check that ``points`` is a usable point cloud: float (N, >=3), N > 0, finite coordinates of some precision.

    Args:
        points: Point cloud, x, y, z first.
        name: Name of the cloud in messages.

    Raises:
        TypeError: ``points`` is not a floating point tensor.
        ValueError: ``points`` has another shape or no points, or some have non-finite coordinates; the message counts
            them. Or coordinates are so large that the numbers of their type are further apart than ``COARSE``.
    """
    if not isinstance(points, Tensor) or not points.is_floating_point():
        raise TypeError(f'{name}: points must be a floating point tensor, got '
                        f'{points.dtype if isinstance(points, Tensor) else type(points).__name__}')
    if points.dim() != 2 or points.shape[1] < 3:
        raise ValueError(f'{name}: points must have shape (N, >=3), got {tuple(points.shape)}')
    if len(points) == 0:
        raise ValueError(f'{name}: there are no points; check the file and the filters of the pipeline')
    bad = int((~torch.isfinite(points[:, :3])).any(dim=1).sum())
    if bad:
        raise ValueError(f'{name}: {bad} of {len(points)} points have non-finite coordinates; remove them from the '
                         'file or in the pipeline')
    largest = points[:, :3].abs().max().item()
    spacing = largest * torch.finfo(points.dtype).eps
    if spacing > COARSE:
        kind = str(points.dtype).removeprefix('torch.')
        raise ValueError(f'{name}: coordinates reach {largest:.3g} m, where {kind} numbers are {spacing:.2g} m apart: '
                         'the shape is lost. Are they meters? Remove stray points, and subtract an offset before '
                         'coordinates are stored as float32; tensors in Python may be float64')


def check_xyz(xyz: Tensor, name: str = 'xyz') -> None:
    """Check that ``xyz`` is a batch of point sets: float (B, N, 3), N > 0, and on the CPU finite.

    Points that are not finite would give wrong indices. On a GPU they are not looked for, since that would wait for it.

    Args:
        xyz: Batch of point sets.
        name: Name of the argument in messages.

    Raises:
        TypeError: ``xyz`` is not a floating point tensor.
        ValueError: ``xyz`` has another shape, no points, or non-finite coordinates, which the message counts.
    """
    if not isinstance(xyz, Tensor) or not xyz.is_floating_point():
        raise TypeError(f'{name} must be a floating point tensor, got {getattr(xyz, "dtype", type(xyz).__name__)}')
    if xyz.dim() != 3 or xyz.shape[2] != 3:
        raise ValueError(f'{name} must have shape (B, N, 3), got {tuple(xyz.shape)}')
    if xyz.shape[1] == 0:
        raise ValueError(f'{name} has no points, got shape {tuple(xyz.shape)}')
    if not xyz.is_cuda and not xyz.isfinite().all():
        bad = int((~xyz.isfinite().all(dim=2)).sum())
        raise ValueError(f'{name} has {bad} of {xyz.shape[0] * xyz.shape[1]} points with NaN or infinite coordinates; '
                         'remove them')


def mmcv_has_cuda() -> bool:
    """Tell whether mmcv has its CUDA operations, which are used instead of our implementations where equivalent."""
    try:
        from mmcv.ops import get_compiling_cuda_version
        return get_compiling_cuda_version() != 'not available'
    except ImportError:  # mmcv-lite
        return False


# --- scenes far from the origin ---------------------------------------------------------------------------------------

def scene_offset(points: Tensor) -> Tensor:
    """Return the origin of the local coordinates of a scene.

    Args:
        points: Float (N, >=3), x, y, z first, in meters; N > 0.

    Returns:
        Float64 (3,), whole meters on the device of ``points``; zeros if all coordinates are within ``FAR``.
    """
    xyz = points[:, :3]
    if xyz.abs().max() < FAR:
        return xyz.new_zeros(3, dtype=torch.float64)
    return xyz.double().median(dim=0).values.round()


def to_local(points: Tensor, offset: Tensor, name: str = 'scene') -> Tensor:
    """Return points relative to ``offset``, in float32 if they are moved or in float64.

    Args:
        points: Float (N, C), x, y, z first, in meters.
        offset: Float64 (3,), see :func:`scene_offset`.
        name: Name of the scene in messages.

    Raises:
        ValueError: The scene is so large that float32 does not resolve it anywhere.
    """
    if offset.any():
        points = torch.cat([points[:, :3].double() - offset, points[:, 3:].double()], dim=1)
    if points.dtype == torch.float64:
        points = points.float()
        check_points(points, name)
    return points


def move_boxes(boxes: BaseInstance3DBoxes, offset: Tensor) -> BaseInstance3DBoxes:
    """Return boxes moved by ``offset``, with a float64 tensor if they are moved.

    Indexing and other methods of mmdet3d's boxes convert them to float32 again.

    Args:
        boxes: K boxes.
        offset: Float64 (3,) in meters.
    """
    if not offset.any():
        return boxes
    moved = copy.copy(boxes)
    moved.tensor = boxes.tensor.double()
    moved.tensor[:, :3] += offset.to(moved.tensor.device)
    return moved


def localize_boxes(boxes: BaseInstance3DBoxes, offset: Tensor) -> BaseInstance3DBoxes:
    """Return boxes relative to ``offset``, in float32; the inverse of :func:`move_boxes`."""
    if not offset.any():
        return boxes
    local = move_boxes(boxes, -offset)
    local.tensor = local.tensor.float()
    return local
