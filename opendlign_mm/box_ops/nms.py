"""Non-maximum suppression of 3D boxes, axis-aligned and rotated about z, on CPU and CUDA."""
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

    mmdet3d's ``aligned_3d_nms`` takes axis-aligned boxes only and its ``nms_bev`` compares boxes from above only. This
    function uses the 3D IoU of both kinds of boxes.

    Args:
        boxes: M boxes.
        scores: Score of each box, (M,).
        iou_threshold: Largest IoU of two boxes that are kept, in [0, 1].
        labels: Class of each box, int (M,); only boxes of one class suppress each other. None: all boxes do.
        max_num: Number of boxes after which to stop; None keeps all.

    Returns:
        Indices of the kept boxes by descending score, int64 (K,).

    Raises:
        ValueError: There are not as many scores as boxes.
    """
    if len(boxes) != len(scores):
        raise ValueError(f'{len(boxes)} boxes but {len(scores)} scores')
    order = scores.argsort(descending=True, stable=True)
    if len(boxes) == 0:
        return order
    suppresses = box_overlaps(boxes, boxes) > iou_threshold
    if labels is not None:
        suppresses &= labels[:, None] == labels[None]
    suppresses = suppresses[order][:, order].cpu()  # the greedy pass is sequential
    alive = torch.ones(len(order), dtype=torch.bool)
    kept: list[int] = []
    for index in range(len(order)):
        if alive[index]:
            kept.append(index)
            alive &= ~suppresses[index]
            if max_num is not None and len(kept) >= max_num:
                break
    return order[torch.tensor(kept, device=order.device)]
