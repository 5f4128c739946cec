"""3D IoU and non-maximum suppression of boxes, on CPU and CUDA."""
from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from .iou import box_overlaps

if TYPE_CHECKING:  # mmdet3d's structures take 11 seconds to import
    from mmdet3d.structures import BaseInstance3DBoxes


def nms_3d(boxes: BaseInstance3DBoxes,
           scores: Tensor,
           iou_threshold: float,
           labels: Tensor | None = None,
           max_num: int | None = None) -> Tensor:
    """Keep boxes that overlap no box of higher score by more than ``iou_threshold``.

    mmdet3d's ``aligned_3d_nms`` knows no rotated boxes and its ``nms_bev`` looks from above only; this one uses the 3D
    IoU of both kinds, on CPU and CUDA.

    Args:
        boxes (BaseInstance3DBoxes): M boxes.
        scores (Tensor): (M,).
        iou_threshold (float): in [0, 1].
        labels (Tensor, optional): int (M,); only boxes of one label suppress each other. All do by default.
        max_num (int, optional): stop after so many boxes.

    Returns:
        Tensor: int64 indices of the kept boxes by descending score.
    """
    if len(boxes) != len(scores):
        raise ValueError(f'{len(boxes)} boxes but {len(scores)} scores')
    order = scores.argsort(descending=True, stable=True)
    if len(boxes) == 0:
        return order
    overlaps = box_overlaps(boxes, boxes) > iou_threshold
    if labels is not None:
        overlaps &= labels[:, None] == labels[None]
    overlaps = overlaps[order][:, order].cpu()  # the greedy pass is sequential
    alive = torch.ones(len(order), dtype=torch.bool)
    kept = []
    for index in range(len(order)):
        if alive[index]:
            kept.append(index)
            alive &= ~overlaps[index]
            if max_num is not None and len(kept) >= max_num:
                break
    return order[torch.tensor(kept, device=order.device)]
