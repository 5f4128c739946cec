"""Local coordinates for scenes far from the origin, such as scans in UTM coordinates.

Networks and boxes of mmdet3d use float32, whose numbers near 1e6 are 6 cm apart. Detectors therefore work relative to
an offset near the scene, and add it to the boxes at the end. This needs points in float64: files in float32, which
mmdet3d's ``LoadPointsFromFile`` reads, have lost the shape of such a scene already (:func:`check_points` refuses them).
"""
import copy

import torch
from mmdet3d.structures import BaseInstance3DBoxes
from torch import Tensor

from ..point_ops.checks import check_points

# Meters from the origin beyond which float32 coordinates are 1 mm apart or more.
FAR = 8192.


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
