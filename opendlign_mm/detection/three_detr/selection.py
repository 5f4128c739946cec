"""Selection of predicted boxes by their points, objectness and overlap, as in the evaluation of 3DETR."""
import torch
from mmdet3d.structures import DepthInstance3DBoxes
from mmengine.structures import InstanceData
from torch import Tensor

from ...box_ops.iou import enclosing_bounds
from ...box_ops.nms import nms_3d
from ...box_ops.points_in_boxes import count_points_in_boxes


class BoxSelection:
    """Filter that drops boxes with few points, boxes of low objectness and duplicates, as 3DETR's evaluation does.

    Args:
        min_points: Smallest number of points in a box.
        objectness_threshold: Objectness above which boxes are kept.
        nms_threshold: 3D IoU above which the box of the lower objectness is dropped. For rotated boxes it is the IoU of
            the axis-aligned boxes around them.
        class_agnostic_nms: Whether boxes of different classes suppress each other; otherwise only boxes with the same
            most probable class do.
        max_boxes: Largest number of boxes per scene, the best by objectness. None keeps all.
        max_detections: Largest number of detections per scene, the best by score, see :meth:`to_detections`. None keeps
            one for each box and class.

    Raises:
        ValueError: ``max_boxes`` or ``max_detections`` is below 1.
    """

    def __init__(self,
                 min_points: int = 5,
                 objectness_threshold: float = 0.05,
                 nms_threshold: float = 0.25,
                 class_agnostic_nms: bool = False,
                 max_boxes: int | None = None,
                 max_detections: int | None = None) -> None:
        for name, number in (('max_boxes', max_boxes), ('max_detections', max_detections)):
            if number is not None and number < 1:
                raise ValueError(f'selection.{name} must be None or >= 1, got {number}')
        self.min_points, self.objectness_threshold = min_points, objectness_threshold
        self.nms_threshold, self.class_agnostic_nms, self.max_boxes = nms_threshold, class_agnostic_nms, max_boxes
        self.max_detections = max_detections

    def __call__(self, points: Tensor, predicted: dict[str, Tensor], with_yaw: bool) -> InstanceData:
        """Select the boxes of one scene.

        Args:
            points: Float (N, >=3).
            predicted: ``cls_logits`` (K, C + 1), ``center`` (K, 3), ``size`` (K, 3), ``angle`` (K,), ``objectness``
                (K,), see :func:`decode_boxes`.
            with_yaw: Whether boxes may be rotated.

        Returns:
            D <= K boxes by descending objectness: ``bboxes_3d``, ``objectness`` (D,) and ``class_probabilities``
            (D, C), whose rows sum to 1 minus the share of the background.
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

    def to_detections(self, selected: InstanceData) -> InstanceData:
        """Turn selected boxes into detections, one for each box and class.

        The score is the product of objectness and class probability. 3DETR's evaluation calls this
        ``per_class_proposal``.

        Args:
            selected: D boxes with ``objectness`` and ``class_probabilities`` (D, C).

        Returns:
            ``bboxes_3d``, ``scores_3d`` (M,), descending, and ``labels_3d`` int64 (M,), where M is D * C or
            ``max_detections``.
        """
        num_classes = selected.class_probabilities.shape[1]
        scores = (selected.class_probabilities * selected.objectness[:, None]).flatten()
        order = scores.argsort(descending=True, stable=True)[:self.max_detections]
        detections = InstanceData()
        detections.bboxes_3d = selected.bboxes_3d[order // num_classes]
        detections.scores_3d = scores[order]
        detections.labels_3d = order % num_classes
        return detections
