"""Points in 3D boxes, axis-aligned and rotated about z: membership, counts and crops, on CPU and CUDA."""
from __future__ import annotations

from typing import TYPE_CHECKING, Literal, get_args

import torch
from torch import Tensor

from ..compiled import compiled

if TYPE_CHECKING:  # mmdet3d's structures take 11 seconds to import
    from mmdet3d.structures import BaseInstance3DBoxes

# Point of a box at its x, y, z: the center of its bottom (mmdet3d's DepthInstance3DBoxes) or of its volume (ScanNet's
# annotation files).
Origin = Literal['bottom_center', 'gravity_center']

# Boxes are compared with points in chunks: a large scene with many boxes must not need (M, N, 3) floats at once.
MAX_ELEMENTS_PER_CHUNK = 1 << 23
# Meters by which boxes are enlarged, since coordinates of a room are exact to about 1e-6 m in float32: a corner of a
# rotated box must count as inside.
TOLERANCE = 1e-5


def points_in_boxes(points: Tensor, boxes: BaseInstance3DBoxes | Tensor, margin: float = 0.,
                    origin: Origin = 'bottom_center') -> Tensor:
    """Tell for each box which points it contains. Points on a face count as inside.

    Args:
        points: Points in meters, (N, >=3), x, y, z first, z up.
        boxes: M boxes, see :func:`box_tensor`.
        margin: Meters by which each face is moved outwards.
        origin: Point of a box at its x, y, z.

    Returns:
        bool (M, N), on the device of ``points``.

    Raises:
        TypeError: ``boxes`` is neither a tensor nor mmdet3d boxes.
        ValueError: ``points`` or ``boxes`` has another shape, a size is negative, or ``origin`` is unknown.
    """
    if points.dim() != 2 or points.shape[1] < 3:
        raise ValueError(f'points must have shape (N, >=3), got {tuple(points.shape)}')
    tensor = box_tensor(boxes).to(points)
    xyz = points[:, :3]
    half_sizes = tensor[:, 3:6] / 2 + margin + TOLERANCE
    inside = torch.zeros(len(tensor), len(xyz), dtype=torch.bool, device=points.device)
    chunk = max(1, MAX_ELEMENTS_PER_CHUNK // max(1, 3 * len(xyz)))
    for start in range(0, len(tensor), chunk):
        part = slice(start, start + chunk)
        local = to_box_frame(xyz[None], tensor[part, None], origin)
        inside[part] = (local.abs() <= half_sizes[part, None]).all(dim=-1)
    return inside


def count_points_in_boxes(points: Tensor, boxes: BaseInstance3DBoxes | Tensor, margin: float = 0.,
                          origin: Origin = 'bottom_center') -> Tensor:
    """Count the points in each box, int64 (M,). Arguments and errors as in :func:`points_in_boxes`.

    On the CPU points in float32 are sorted along x, and a box is compared only with those that are near it.
    """
    tensor = box_tensor(boxes)
    if points.device.type == 'cpu' and points.dtype == torch.float32 and points.dim() == 2 and points.shape[1] >= 3:
        return _count_sorted(points[:, :3].detach(), tensor.to(points), margin, origin)
    chunk = max(1, MAX_ELEMENTS_PER_CHUNK // max(1, len(points)))
    counts = [points_in_boxes(points, part, margin, origin).sum(dim=1) for part in tensor.split(chunk) if len(part)]
    return torch.cat(counts) if counts else torch.zeros(0, dtype=torch.long, device=points.device)


def _count_sorted(xyz: Tensor, boxes: Tensor, margin: float, origin: Origin) -> Tensor:
    """Count the points in each box by :func:`_count_near`, with the arithmetic of :func:`points_in_boxes`."""
    _check_origin(origin)
    half_sizes = boxes[:, 3:6] / 2 + margin + TOLERANCE
    lowering = boxes[:, 5] / 2 if origin == 'bottom_center' else torch.zeros(len(boxes))
    yaw = boxes[:, 6]
    # A rotated box reaches no farther along x than half its diagonal.
    reach = torch.where(yaw == 0, half_sizes[:, 0], half_sizes[:, :2].norm(dim=1)) + 1e-3
    xyz = xyz[xyz[:, 0].argsort()].contiguous()
    first = torch.searchsorted(xyz[:, 0].contiguous(), (boxes[:, 0] - reach).contiguous())
    last = torch.searchsorted(xyz[:, 0].contiguous(), (boxes[:, 0] + reach).contiguous(), right=True)
    counts = torch.zeros(len(boxes), dtype=torch.long)
    rotated = bool(yaw.any())
    arrays = (xyz, boxes[:, :3].contiguous(), half_sizes, lowering, yaw.cos(), yaw.sin(), first, last, counts)
    _count_near(*(values.numpy() for values in arrays[:-1]), rotated, counts.numpy())
    return counts


@compiled()
def _count_near(xyz, centers, half_sizes, lowering, cosine, sine, first, last, rotated, counts):
    """Fill ``counts`` (M,) with the number of points from ``first`` to ``last`` in each box."""
    for m in range(len(counts)):
        for n in range(first[m], last[m]):
            x, y = xyz[n, 0] - centers[m, 0], xyz[n, 1] - centers[m, 1]
            z = xyz[n, 2] - centers[m, 2] - lowering[m]
            if rotated:
                x, y = x * cosine[m] + y * sine[m], y * cosine[m] - x * sine[m]
            counts[m] += abs(x) <= half_sizes[m, 0] and abs(y) <= half_sizes[m, 1] and abs(z) <= half_sizes[m, 2]


def crop_points(points: Tensor, boxes: BaseInstance3DBoxes | Tensor, margin: float = 0.,
                origin: Origin = 'bottom_center', in_box_frame: bool = True) -> list[Tensor]:
    """Cut the points of each box out of a scene.

    Args:
        points: Points in meters, (N, >=3), x, y, z first, z up; further columns (colors) are kept as they are.
        boxes: M boxes, see :func:`box_tensor`.
        margin: Meters by which each face is moved outwards.
        origin: Point of a box at its x, y, z.
        in_box_frame: Whether to return coordinates in the frame of the box, so that a rotated box is seen from its own
            sides, or those of the scene.

    Returns:
        M tensors (N_i, >=3), N_i may be 0.

    Raises:
        TypeError: ``boxes`` is neither a tensor nor mmdet3d boxes.
        ValueError: ``points`` or ``boxes`` has another shape, a size is negative, or ``origin`` is unknown.
    """
    tensor = box_tensor(boxes).to(points)
    box_index, point_index = points_in_boxes(points, tensor, margin, origin).nonzero(as_tuple=True)
    cropped = points[point_index]
    if in_box_frame:
        local = to_box_frame(cropped[:, :3], tensor[box_index], origin)
        cropped = torch.cat([local, cropped[:, 3:]], dim=1)
    counts = torch.bincount(box_index, minlength=len(tensor)).tolist()
    return list(cropped.split(counts)) if counts else []


def box_tensor(boxes: BaseInstance3DBoxes | Tensor) -> Tensor:
    """Return boxes as an (M, 7) tensor: x, y, z, x_size, y_size, z_size, yaw.

    Args:
        boxes: mmdet3d boxes, or a tensor (M, 6) or (M, >=7); yaw is 0 where there is none.

    Raises:
        TypeError: ``boxes`` is neither.
        ValueError: The shape is another one or a size is negative.
    """
    tensor = getattr(boxes, 'tensor', boxes)
    if not isinstance(tensor, Tensor):
        raise TypeError(f'boxes must be a tensor or mmdet3d boxes, got {type(boxes).__name__}')
    if tensor.dim() != 2 or tensor.shape[1] < 6:
        raise ValueError(f'boxes must have shape (M, 6) or (M, 7), got {tuple(tensor.shape)}')
    if (tensor[:, 3:6] < 0).any():
        raise ValueError('box sizes must not be negative')
    if tensor.shape[1] == 6:
        tensor = torch.cat([tensor, tensor.new_zeros(len(tensor), 1)], dim=1)
    return tensor[:, :7]


def to_box_frame(points: Tensor, boxes: Tensor, origin: Origin = 'bottom_center') -> Tensor:
    """Transform points to the frame of a box: origin in its gravity center, axes along its sides.

    Args:
        points: Points in meters, (..., 3), z up.
        boxes: Boxes (..., 7), broadcast against ``points``; yaw in radians from +x towards +y.
        origin: Point of a box at its x, y, z.

    Returns:
        (..., 3).

    Raises:
        ValueError: ``origin`` is unknown.
    """
    _check_origin(origin)
    offset = points - boxes[..., :3]
    z = offset[..., 2] - boxes[..., 5] / 2 if origin == 'bottom_center' else offset[..., 2]
    x, y, yaw = offset[..., 0], offset[..., 1], boxes[..., 6]
    if yaw.any():
        x, y = x * yaw.cos() + y * yaw.sin(), y * yaw.cos() - x * yaw.sin()
    return torch.stack([x, y, z], dim=-1)


def _check_origin(origin: str) -> None:
    if origin not in get_args(Origin):
        raise ValueError(f'origin must be one of {get_args(Origin)}, got {origin!r}')
