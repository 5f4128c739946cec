"""IoU and generalized IoU of 3D boxes, axis-aligned and rotated about z, on CPU and CUDA.

The area that two rotated boxes share from above is found by Sutherland and Hodgman's polygon clipping, for all pairs at
once: one rectangle is cut at the four sides of the other. It is differentiable, so the generalized IoU is a loss.
"""
from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:  # mmdet3d's structures take 11 seconds to import
    from mmdet3d.structures import BaseInstance3DBoxes

EPSILON = 1e-8


def box_overlaps(first: BaseInstance3DBoxes, second: BaseInstance3DBoxes) -> Tensor:
    """Compute the 3D IoU of all pairs of boxes.

    mmdet3d's own ``overlaps`` compares the rectangles of all pairs, which takes seconds for a thousand boxes on a CPU.
    Here only pairs are compared whose axis-aligned bounds meet; where no box is rotated these are the boxes.

    Args:
        first: M boxes.
        second: N boxes of the same type.

    Returns:
        float (M, N) in [0, 1].
    """
    if len(first) == 0 or len(second) == 0:
        return first.tensor.new_zeros(len(first), len(second))
    rotated = bool(first.yaw.any() or second.yaw.any())
    if rotated and first.YAW_AXIS != 2:  # boxes of cameras turn about y
        return first.overlaps(first, second)
    rows, columns = (torch.cat([boxes.gravity_center, boxes.dims, boxes.yaw[:, None]], dim=1)
                     for boxes in (first, second))
    overlap = _overlap(rows[:, None], columns[None], rotated)
    union = rows[:, None, 3:6].prod(dim=-1) + columns[None, :, 3:6].prod(dim=-1) - overlap
    return (overlap / union.clamp(min=EPSILON)).clamp(max=1)


def _overlap(first: Tensor, second: Tensor, rotated: bool) -> Tensor:
    """Compute the volume that boxes (..., 7) share; ``rotated`` tells whether any yaw differs from 0."""
    first_low, first_high = enclosing_bounds(first)
    second_low, second_high = enclosing_bounds(second)
    shared = (torch.minimum(first_high, second_high) - torch.maximum(first_low, second_low)).clamp(min=0)
    if not rotated:
        return shared.prod(dim=-1)
    return _rotated_overlap(first, second, shared.prod(dim=-1) > 0) * shared[..., 2]


def generalized_iou(first: Tensor, second: Tensor, rotated: bool = True) -> Tensor:
    """Compute IoU minus the share of the enclosing box that the union leaves empty (Rezatofighi et al., CVPR 2019).

    The enclosing box is axis-aligned, also for rotated boxes, as in 3DETR.

    Args:
        first: Boxes, float (..., 7): gravity center, sizes, yaw in radians from +x towards +y.
        second: Boxes, float (..., 7), broadcast against ``first``.
        rotated: Whether any yaw differs from 0; if none does, the intersection is a few minima and maxima.

    Returns:
        float (...), in [-1, 1]; 0 for pairs of boxes without volume.
    """
    first_low, first_high = enclosing_bounds(first)
    second_low, second_high = enclosing_bounds(second)
    overlap = _overlap(first, second, rotated)
    volumes = first[..., 3:6].prod(dim=-1).clamp(min=EPSILON) + second[..., 3:6].prod(dim=-1).clamp(min=EPSILON)
    union = (volumes - overlap).clamp(min=EPSILON)
    enclosing = (torch.maximum(first_high, second_high) - torch.minimum(first_low, second_low)).prod(dim=-1)
    usable = (enclosing > 2 * EPSILON) & (volumes > 4 * EPSILON)
    enclosing = torch.where(usable, enclosing, 1)
    return torch.where(usable, overlap / union - (1 - union / enclosing), 0)


def enclosing_bounds(boxes: Tensor) -> tuple[Tensor, Tensor]:
    """Return the lower and upper corners (..., 3) of the axis-aligned boxes around ``boxes`` (..., 7)."""
    cos, sin = boxes[..., 6].cos().abs(), boxes[..., 6].sin().abs()
    length, width, height = boxes[..., 3:6].unbind(dim=-1)
    half = torch.stack([length * cos + width * sin, length * sin + width * cos, height], dim=-1) / 2
    return boxes[..., :3] - half, boxes[..., :3] + half


def _rotated_overlap(first: Tensor, second: Tensor, may_overlap: Tensor) -> Tensor:
    """Compute the area that boxes share from above, clipping only the pairs in the mask ``may_overlap``."""
    first, second = torch.broadcast_tensors(first, second)
    columns = [0, 1, 3, 4, 6]
    area = rectangle_overlap(first[may_overlap][:, columns], second[may_overlap][:, columns])
    return torch.zeros_like(may_overlap, dtype=area.dtype).masked_scatter(may_overlap, area)


def rectangle_overlap(first: Tensor, second: Tensor) -> Tensor:
    """Compute the area of the intersection of pairs of rectangles.

    Args:
        first: Rectangles, float (..., 5): x, y of the center, both sizes, yaw in radians from +x towards +y.
        second: Rectangles, float (..., 5), broadcast against ``first``.

    Returns:
        float (...), >= 0, differentiable in both.
    """
    first, second = torch.broadcast_tensors(first, second)
    # In the frame of the second rectangle clipping is four comparisons with a coordinate.
    polygons = _corners_in_frames(first, second)
    half_sizes = second[..., 2:4] / 2
    for axis in (0, 1):
        for sign in (1, -1):
            polygons = _clip(polygons, axis, sign, half_sizes[..., axis, None])
    x, y = polygons.unbind(dim=-1)
    return (x * y.roll(-1, dims=-1) - y * x.roll(-1, dims=-1)).sum(dim=-1).abs() / 2


def _corners_in_frames(rectangles: Tensor, frames: Tensor) -> Tensor:
    """Return the corners (..., 4, 2) of ``rectangles``, in order around the edge, in the frames of other rectangles."""
    yaw = rectangles[..., 4] - frames[..., 4]
    signs = rectangles.new_tensor([[1, 1], [-1, 1], [-1, -1], [1, -1]])
    corners = _rotate(signs * rectangles[..., None, 2:4] / 2, yaw[..., None])
    return corners + _rotate(rectangles[..., :2] - frames[..., :2], -frames[..., 4])[..., None, :]


def _rotate(xy: Tensor, angle: Tensor) -> Tensor:
    cos, sin = angle.cos(), angle.sin()
    return torch.stack([xy[..., 0] * cos - xy[..., 1] * sin, xy[..., 0] * sin + xy[..., 1] * cos], dim=-1)


def _clip(polygons: Tensor, axis: int, sign: int, limit: Tensor) -> Tensor:
    """Clip convex polygons (..., n, 2) to the half-plane ``sign * coordinate <= limit``: (..., n + 1, 2).

    A polygon with fewer vertices repeats its last one, which changes neither its area nor later cuts.
    """
    beyond = sign * polygons[..., axis] - limit
    following, beyond_following = polygons.roll(-1, dims=-2), beyond.roll(-1, dims=-1)
    inside, crosses = beyond <= 0, (beyond <= 0) != (beyond_following <= 0)
    step = torch.where(crosses, beyond - beyond_following, 1)
    cuts = polygons + (beyond / step)[..., None] * (following - polygons)
    # Each vertex and the cut of the edge behind it, where they exist, moved to the front in order.
    vertices = torch.stack([polygons, cuts], dim=-2).flatten(-3, -2)
    exists = torch.stack([inside, crosses], dim=-1).flatten(-2)
    order = (~exists).to(torch.uint8).argsort(dim=-1, stable=True)
    last = exists.sum(dim=-1, keepdim=True).clamp(min=1) - 1
    places = torch.arange(polygons.shape[-2] + 1, device=polygons.device).expand(*last.shape[:-1], -1)
    order = order.gather(-1, places.minimum(last))
    return vertices.gather(-2, order[..., None].expand(*order.shape, 2))
