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


def multiclass_nms_3d(boxes: BaseInstance3DBoxes,
                      scores: Tensor,
                      iou_threshold: float,
                      score_threshold: float = -torch.inf,
                      max_num: int | None = None) -> tuple[Tensor, Tensor]:
    """Apply :func:`nms_3d` to each class separately, with one IoU matrix for all classes.

    Args:
        boxes: M boxes, which all classes share.
        scores: Score of each box for each class, (M, C). Entries that are NaN, ``-inf`` or below ``score_threshold``
            are no candidates: they are neither kept nor suppress others.
        iou_threshold: Largest IoU of two boxes that are kept for one class, in [0, 1].
        score_threshold: Smallest score of a candidate.
        max_num: Number of detections to keep, the best over all classes; None keeps all.

    Returns:
        Indices of boxes and their classes, two int64 tensors (K,) on the device of ``scores``, by descending score. Of
        equal scores the lower class comes first, then the lower index.

    Raises:
        ValueError: ``scores`` has another shape.
    """
    if scores.dim() != 2 or len(scores) != len(boxes):
        raise ValueError(f'scores must have shape (M, C) with M = {len(boxes)} boxes, got {tuple(scores.shape)}')
    candidates = (scores >= score_threshold) & (scores > -torch.inf)
    used = candidates.any(dim=1).nonzero()[:, 0]
    suppresses = (box_overlaps(boxes[used], boxes[used]) > iou_threshold).cpu()  # the greedy pass is sequential
    alive = candidates[used].cpu()
    ranked = torch.where(candidates, scores, -torch.inf)[used].argsort(dim=0, descending=True, stable=True).cpu()
    classes = torch.arange(scores.shape[1])
    kept = torch.zeros_like(alive)
    for indices in ranked:  # one box of each class, the best first
        keeps = alive[indices, classes]
        kept[indices[keeps], classes[keeps]] = True
        alive[:, keeps] &= ~suppresses[:, indices[keeps]]
    labels, indices = kept.T.nonzero(as_tuple=True)
    labels, indices = labels.to(scores.device), used[indices.to(scores.device)]
    order = scores[indices, labels].argsort(descending=True, stable=True)[:max_num]
    return indices[order], labels[order]
