"""Data structures of the package: the sample of one shape, and the detections of one scene."""
from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from mmengine.structures import BaseDataElement
from torch import Tensor

if TYPE_CHECKING:  # mmdet3d's structures take 11 seconds to import
    from mmdet3d.structures import BaseInstance3DBoxes


class ShapeDataSample(BaseDataElement):
    """Annotations and predictions of one object.

    Meta information: ``sample_id`` (str) and ``category`` (str, the class name as text).

    Data fields, each present once it has been set:

    - ``gt_label``: int64 tensor (1,), index of the class among the dataset's classes.
    - ``pred_scores``: float32 tensor (C,), one score per class of the vocabulary, higher is better.
    - ``pred_label``: int64 tensor (1,), the class with the highest score.
    - ``pred_scores_pretrained``: float32 tensor (C,), the scores of the frozen CLIP alone, when a model compares both.
    - ``depth_embedding``, ``image_embedding``: float32 tensors (D,), L2-normalized, of the object's depth views and
      images, when a model returns them.
    """

    def set_gt_label(self, label: int | torch.Tensor) -> ShapeDataSample:
        """Set the class index; raises ``ValueError`` unless it is a single non-negative integer."""
        label = torch.as_tensor(label)
        if label.numel() != 1 or label.is_floating_point() or int(label) < 0:
            raise ValueError(f'gt_label must be one class index >= 0, got {label.tolist()}')
        self.set_field(label.reshape(1).long(), 'gt_label', dtype=torch.Tensor)
        return self

    def set_pred_scores(self, scores: torch.Tensor) -> ShapeDataSample:
        """Set the scores (C,) of all classes and, with them, the predicted label."""
        if scores.ndim != 1 or scores.numel() == 0:
            raise ValueError(f'pred_scores must have shape (C,) with C >= 1, got {tuple(scores.shape)}')
        self.set_field(scores, 'pred_scores', dtype=torch.Tensor)
        self.set_field(scores.argmax().reshape(1), 'pred_label', dtype=torch.Tensor)
        return self


@dataclass(frozen=True)
class SceneDetections:
    """Detections of one scene, best first, and its annotations.

    Attributes:
        name: of the scene: the stem of its file of points.
        points: float (N, >=3), meters, z up; colors as in :func:`draw_scene_from_above`.
        boxes: K predicted boxes.
        labels: K texts, each with class and score.
        classes: for each box its most probable classes, (name, probability in [0, 1]), best first.
        matches: for each box a text that says which true box it overlaps most; empty without annotations.
        depth_views: float (K, V, H, W) in [0, 1]; None where K is 0.
        true_boxes: annotated boxes; None without annotations.
        true_labels: the class of each annotated box.
    """
    name: str
    points: Tensor
    boxes: BaseInstance3DBoxes
    labels: list[str]
    classes: list[list[tuple[str, float]]]
    matches: list[str]
    depth_views: Tensor | None
    true_boxes: BaseInstance3DBoxes | None
    true_labels: list[str]
