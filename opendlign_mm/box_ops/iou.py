"""Generalised IoU of 3D boxes, axis-aligned and turned about z; differentiable, on CPU and CUDA."""
from typing import Tuple

import torch
from torch import Tensor

from ..detection.polygon_clipping import rectangle_overlap

EPSILON = 1e-8


def enclosing_bounds(boxes: Tensor) -> Tuple[Tensor, Tensor]:
    """Lower and upper corners (..., 3) of the axis-aligned boxes around ``boxes`` (..., 7)."""
    cos, sin = boxes[..., 6].cos().abs(), boxes[..., 6].sin().abs()
    length, width, height = boxes[..., 3:6].unbind(dim=-1)
    half = torch.stack([length * cos + width * sin, length * sin + width * cos, height], dim=-1) / 2
    return boxes[..., :3] - half, boxes[..., :3] + half


def generalized_iou(first: Tensor, second: Tensor, rotated: bool = True) -> Tensor:
    """IoU minus the share of the enclosing box that the union leaves empty (Rezatofighi et al., CVPR 2019).

    The enclosing box is axis-aligned, also for turned boxes, as in 3DETR.

    Args:
        first: float (..., 7): gravity centre, sizes, yaw in radians from +x towards +y.
        second: float (..., 7), broadcast against ``first``.
        rotated: Whether any yaw differs from 0; without, the intersection takes a few minima and maxima.

    Returns:
        float (...), in [-1, 1]; 0 for pairs of boxes without volume.
    """
    first_low, first_high = enclosing_bounds(first)
    second_low, second_high = enclosing_bounds(second)
    shared = (torch.minimum(first_high, second_high) - torch.maximum(first_low, second_low)).clamp(min=0)
    if rotated:
        overlap = _rotated_overlap(first, second, shared[..., :2].prod(dim=-1) > 0) * shared[..., 2]
    else:
        overlap = shared.prod(dim=-1)
    volumes = first[..., 3:6].prod(dim=-1).clamp(min=EPSILON) + second[..., 3:6].prod(dim=-1).clamp(min=EPSILON)
    union = (volumes - overlap).clamp(min=EPSILON)
    enclosing = (torch.maximum(first_high, second_high) - torch.minimum(first_low, second_low)).prod(dim=-1)
    usable = (enclosing > 2 * EPSILON) & (volumes > 4 * EPSILON)
    enclosing = torch.where(usable, enclosing, 1)
    return torch.where(usable, overlap / union - (1 - union / enclosing), 0)


def _rotated_overlap(first: Tensor, second: Tensor, may_overlap: Tensor) -> Tensor:
    """Area of the intersection seen from above; only pairs whose enclosing boxes meet are clipped."""
    first, second = torch.broadcast_tensors(first, second)
    columns = [0, 1, 3, 4, 6]
    area = rectangle_overlap(first[may_overlap][:, columns], second[may_overlap][:, columns])
    return torch.zeros_like(may_overlap, dtype=area.dtype).masked_scatter(may_overlap, area)
