"""Which points lie in which 3D boxes, for axis-aligned and rotated boxes, on CPU and CUDA."""

import torch
from torch import Tensor

# Boxes are compared with points in chunks: a large scene with many boxes must not need (M, N, 3) floats at once.
MAX_ELEMENTS_PER_CHUNK = 1 << 23


def box_tensor(boxes) -> Tensor:
    """The (M, 7) tensor (x, y, z, x_size, y_size, z_size, yaw) of ``boxes``.

    Args:
        boxes (BaseInstance3DBoxes | Tensor): mmdet3d boxes, or a (M, 6) or (M, 7) tensor; yaw is 0 where there is none.

    Raises:
        TypeError: if ``boxes`` is neither.
        ValueError: if the shape is another one or a size is negative.
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


def to_box_frame(points: Tensor, boxes: Tensor, origin: str = 'bottom_center') -> Tensor:
    """Coordinates of points in the frame of a box: origin in its gravity center, axes along its sides.

    Args:
        points (Tensor): (..., 3) in meters, z up.
        boxes (Tensor): (..., 7), broadcast against ``points``; yaw in radians from +x towards +y.
        origin (str): what the box's x, y, z are: 'bottom_center' (mmdet3d's ``DepthInstance3DBoxes``) or
            'gravity_center' (ScanNet's annotation files).

    Returns:
        Tensor: (..., 3).
    """
    if origin not in ('bottom_center', 'gravity_center'):
        raise ValueError(f"origin must be 'bottom_center' or 'gravity_center', got {origin!r}")
    offset = points - boxes[..., :3]
    z = offset[..., 2] - boxes[..., 5] / 2 if origin == 'bottom_center' else offset[..., 2]
    x, y, yaw = offset[..., 0], offset[..., 1], boxes[..., 6]
    if yaw.any():
        x, y = x * yaw.cos() + y * yaw.sin(), y * yaw.cos() - x * yaw.sin()
    return torch.stack([x, y, z], dim=-1)


def points_in_boxes(points: Tensor, boxes, margin: float = 0., origin: str = 'bottom_center') -> Tensor:
    """Tell for each box which points it holds. Points on a face count as inside.

    Args:
        points (Tensor): (N, >=3), x y z first, meters, z up.
        boxes (BaseInstance3DBoxes | Tensor): M boxes, see :func:`box_tensor`.
        margin (float): meters by which each face is moved outwards.
        origin (str): see :func:`to_box_frame`.

    Returns:
        Tensor: bool (M, N), on the device of ``points``.
    """
    if points.dim() != 2 or points.shape[1] < 3:
        raise ValueError(f'points must have shape (N, >=3), got {tuple(points.shape)}')
    boxes = box_tensor(boxes).to(points)
    xyz = points[:, :3]
    # float32 coordinates of a room are exact to about 1e-6 m: a corner of a rotated box must not fall out of its box.
    half_sizes = boxes[:, 3:6] / 2 + margin + 1e-5
    inside = torch.zeros(len(boxes), len(xyz), dtype=torch.bool, device=points.device)
    chunk = max(1, MAX_ELEMENTS_PER_CHUNK // max(1, 3 * len(xyz)))
    for start in range(0, len(boxes), chunk):
        part = slice(start, start + chunk)
        local = to_box_frame(xyz[None], boxes[part, None], origin)
        inside[part] = (local.abs() <= half_sizes[part, None]).all(dim=-1)
    return inside


def count_points_in_boxes(points: Tensor, boxes, margin: float = 0., origin: str = 'bottom_center') -> Tensor:
    """Number of points in each box: int64 (M,). Arguments as in :func:`points_in_boxes`."""
    boxes = box_tensor(boxes)
    chunk = max(1, MAX_ELEMENTS_PER_CHUNK // max(1, len(points)))
    counts = [
        points_in_boxes(points, boxes[start:start + chunk], margin, origin).sum(dim=1)
        for start in range(0, len(boxes), chunk)
    ]
    return torch.cat(counts) if counts else torch.zeros(0, dtype=torch.long, device=points.device)


def crop_points(points: Tensor,
                boxes,
                margin: float = 0.,
                origin: str = 'bottom_center',
                in_box_frame: bool = True,
                return_indices: bool = False) -> list[Tensor] | tuple[list[Tensor], list[Tensor]]:
    """Cut out of a scene the points of each box.

    Args:
        points (Tensor): (N, >=3), x y z first, meters, z up; further columns (colors) are kept as they are.
        boxes (BaseInstance3DBoxes | Tensor): M boxes, see :func:`box_tensor`.
        margin (float): meters by which each face is moved outwards.
        origin (str): see :func:`to_box_frame`.
        in_box_frame (bool): give coordinates in the box's frame, so that a rotated box is seen from its own sides;
            otherwise those of the scene.
        return_indices (bool): also return the indices of the points.

    Returns:
        list[Tensor]: M tensors (N_i, >=3), N_i may be 0; with ``return_indices`` a pair of this and of a list of
        int64 tensors (N_i,).
    """
    boxes = box_tensor(boxes).to(points)
    box_index, point_index = points_in_boxes(points, boxes, margin, origin).nonzero(as_tuple=True)
    cropped = points[point_index]
    if in_box_frame:
        local = to_box_frame(cropped[:, :3], boxes[box_index], origin)
        cropped = torch.cat([local, cropped[:, 3:]], dim=1)
    counts = torch.bincount(box_index, minlength=len(boxes)).tolist()
    crops = list(cropped.split(counts)) if counts else []
    if not return_indices:
        return crops
    return crops, list(point_index.split(counts)) if counts else []
