"""Data structures of the package: the sample of one shape and the detections of one scene."""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from mmengine.structures import BaseDataElement
from torch import Tensor

if TYPE_CHECKING:  # mmdet3d's structures take 11 seconds to import
    from mmdet3d.structures import BaseInstance3DBoxes

# What is stored of the depth views of an object in their place; inputs of ``OpenDlign.loss``.
STORED_TOKENS = ('depth_tokens', 'depth_pretrained')


class ShapeDataSample(BaseDataElement):
    """Annotations and predictions of one object.

    Meta information: ``sample_id``, ``category`` (name of the class) and, for alignment with texts, ``caption``, all
    strings, and, with predictions,
    ``class_names``, the C names that ``pred_scores`` and ``pred_label`` index, which may be others than the dataset's.

    Data fields, each present once it has been set:

    - ``gt_label``: Index of the class among the dataset's classes, int64 tensor (1,).
    - ``pred_scores``: One score per class of the vocabulary, higher is better, float32 tensor (C,).
    - ``pred_label``: Index of the class with the highest score, int64 tensor (1,).
    - ``pred_scores_pretrained``: Scores of the pretrained branch alone, where a model compares both, float32 tensor
      (C,).
    - ``depth_embedding``, ``image_embedding``: L2-normalized embeddings of the object's depth views and images, where a
      model returns them, float32 tensors (D,).
    """

    def __reduce__(self) -> tuple:
        """Pickle tensors as arrays, by value: between processes each tensor would take a file descriptor."""
        fields = {name: value.numpy() if _can_be_array(value) else value for name, value in self.items()}
        return _sample_of, (type(self), self.metainfo, fields)

    def set_gt_label(self, label: int | torch.Tensor) -> ShapeDataSample:
        """Set the class index.

        Raises:
            ValueError: ``label`` is not a single integer >= 0.
        """
        label = torch.as_tensor(label)
        if label.numel() != 1 or label.is_floating_point() or int(label) < 0:
            raise ValueError(f'gt_label must be one class index >= 0, got {label.tolist()}')
        self.set_field(label.reshape(1).long(), 'gt_label', dtype=torch.Tensor)
        return self

    def set_pred_scores(self, scores: torch.Tensor, class_names: Sequence[str] | None = None) -> ShapeDataSample:
        """Set the scores (C,) of all classes, the predicted label, and the names of the classes.

        Raises:
            ValueError: ``scores`` is empty or has another shape, or there is another number of names.
        """
        if scores.ndim != 1 or scores.numel() == 0:
            raise ValueError(f'pred_scores must have shape (C,) with C >= 1, got {tuple(scores.shape)}')
        if class_names is not None:
            if len(class_names) != len(scores):
                raise ValueError(f'pred_scores has {len(scores)} classes, class_names has {len(class_names)}')
            self.set_field(tuple(class_names), 'class_names', field_type='metainfo')
        self.set_field(scores, 'pred_scores', dtype=torch.Tensor)
        self.set_field(scores.argmax().reshape(1), 'pred_label', dtype=torch.Tensor)
        return self


def _can_be_array(value: Any) -> bool:
    return (isinstance(value, Tensor) and value.device.type == 'cpu' and not value.requires_grad
            and value.dtype != torch.bfloat16)


def _sample_of(kind: type[ShapeDataSample], metainfo: dict, fields: dict) -> ShapeDataSample:
    sample = kind(metainfo=metainfo)
    for name, value in fields.items():
        setattr(sample, name, torch.from_numpy(value) if isinstance(value, np.ndarray) else value)
    return sample


@dataclass(frozen=True)
class SceneDetections:
    """Detections of one scene, best first, and its annotations.

    Attributes:
        name: Name of the scene, the stem of its file of points.
        points: Points in meters, float (N, >=3), z up; colors as in :func:`.visualization.draw_scene_from_above`.
        boxes: K predicted boxes.
        labels: Label of each box, K strings with class and score.
        classes: Most probable classes of each box, (name, probability in [0, 1]), best first.
        matches: Text for each box that names the ground-truth box it overlaps most; empty without annotations.
        depth_views: Depth views of each box, float (K, V, H, W) in [0, 1]; None where K is 0.
        gt_boxes: Ground-truth boxes; None without annotations.
        gt_labels: Class of each ground-truth box.
    """
    name: str
    points: Tensor
    boxes: BaseInstance3DBoxes
    labels: list[str]
    classes: list[list[tuple[str, float]]]
    matches: list[str]
    depth_views: Tensor | None
    gt_boxes: BaseInstance3DBoxes | None
    gt_labels: list[str]
