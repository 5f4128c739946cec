"""Which predicted boxes become detections."""

import torch
from mmdet3d.structures import DepthInstance3DBoxes
from mmengine.structures import InstanceData
from torch import Tensor

from ...box_ops.iou import enclosing_bounds
from ...box_ops.nms import nms_3d
from ...box_ops.points_in_boxes import count_points_in_boxes


class BoxSelection:
    """Drops empty boxes, improbable ones and duplicates, as 3DETR's evaluation does.

    Args:
        min_points (int): boxes with fewer points are dropped.
        objectness_threshold (float): boxes with no more objectness are dropped.
        nms_threshold (float): 3D IoU above which the box of less objectness is dropped; of turned boxes the IoU of the
            axis-aligned boxes around them counts.
        class_agnostic_nms (bool): across classes; otherwise only among boxes of the same most probable class.
        max_boxes (int, optional): most boxes per scene, by objectness.
    """

    def __init__(self,
                 min_points: int = 5,
                 objectness_threshold: float = 0.05,
                 nms_threshold: float = 0.25,
                 class_agnostic_nms: bool = False,
                 max_boxes: int | None = None) -> None:
        self.min_points, self.objectness_threshold = min_points, objectness_threshold
        self.nms_threshold, self.class_agnostic_nms, self.max_boxes = nms_threshold, class_agnostic_nms, max_boxes

    def __call__(self, points: Tensor, predicted: dict[str, Tensor], with_yaw: bool) -> InstanceData:
        """Select the boxes of one scene.

        Args:
            points (Tensor): float (N, >=3).
            predicted (dict): ``cls_logits`` (K, C + 1), ``center``, ``size`` (K, 3), ``angle``, ``objectness`` (K,).
            with_yaw (bool): whether boxes may be turned.

        Returns:
            InstanceData: D <= K boxes by descending objectness: ``bboxes_3d``, ``objectness`` (D,) and
            ``class_probabilities`` (D, C), which leave the background its share.
        """
        boxes = torch.cat([predicted['center'], predicted['size'], predicted['angle'][:, None]], dim=1).float()
        probabilities = predicted['cls_logits'].float().softmax(dim=1)[:, :-1]
        objectness = predicted['objectness'].float()
        kept = (count_points_in_boxes(points, boxes, origin='gravity_center') >= self.min_points)
        kept = (kept & (objectness > self.objectness_threshold)).nonzero()[:, 0]
        labels = None if self.class_agnostic_nms else probabilities[kept].argmax(dim=1)
        low, high = enclosing_bounds(boxes[kept])
        around = torch.cat([(low + high) / 2, high - low], dim=1)
        around = DepthInstance3DBoxes(around, box_dim=6, with_yaw=False, origin=(.5, .5, .5))
        kept = kept[nms_3d(around, objectness[kept], self.nms_threshold, labels, self.max_boxes)]
        selected = InstanceData()
        selected.bboxes_3d = DepthInstance3DBoxes(
            boxes[kept] if with_yaw else boxes[kept, :6], box_dim=7 if with_yaw else 6, with_yaw=with_yaw,
            origin=(.5, .5, .5))
        selected.objectness = objectness[kept]
        selected.class_probabilities = probabilities[kept]
        return selected


def detections_of(selected: InstanceData) -> InstanceData:
    """One detection for each selected box and class, scored by objectness times class probability.

    Returns:
        InstanceData: ``bboxes_3d``, ``scores_3d`` (D * C,), descending, and ``labels_3d`` int64 (D * C,).
    """
    num_boxes, num_classes = selected.class_probabilities.shape
    scores = (selected.class_probabilities * selected.objectness[:, None]).flatten()
    order = scores.argsort(descending=True, stable=True)
    detections = InstanceData()
    detections.bboxes_3d = selected.bboxes_3d[order // num_classes]
    detections.scores_3d = scores[order]
    detections.labels_3d = order % num_classes
    return detections
