"""Annotated boxes in the terms of the loss."""
from dataclasses import dataclass

from mmengine.structures import InstanceData
from torch import Tensor

from .box_coder import SceneBounds, encode_angle


@dataclass
class SceneTargets:
    """G boxes of one scene.

    Attributes:
        labels: int64 (G,).
        boxes: float (G, 7), gravity centre, size, yaw.
        normalized_centers: float (G, 3), in [0, 1] within the bounds of the points.
        normalized_sizes: float (G, 3), shares of the scene's extent.
        angle_bins: int64 (G,).
        normalized_residuals: float (G,), in half bin widths.
    """
    labels: Tensor
    boxes: Tensor
    normalized_centers: Tensor
    normalized_sizes: Tensor
    angle_bins: Tensor
    normalized_residuals: Tensor

    @classmethod
    def of(cls, annotated: InstanceData, bounds: SceneBounds, scene: int, num_classes: int, num_angle_bins: int,
           class_agnostic: bool) -> 'SceneTargets':
        """Targets of scene number ``scene``. Boxes labelled -1 (a class of no interest) are left out.

        Args:
            annotated: ``bboxes_3d`` and ``labels_3d`` (G,).
            bounds: Of all scenes of the batch.
            scene: Which of them.
            num_classes: Without the background.
            num_angle_bins: 1 for axis-aligned boxes.
            class_agnostic: Every box is of class 0.

        Raises:
            ValueError: A label out of range.
        """
        kept = annotated.labels_3d >= 0
        labels, boxes = annotated.labels_3d[kept], annotated.bboxes_3d[kept]
        if class_agnostic:
            labels = labels * 0
        elif len(labels) and labels.max() >= num_classes:
            raise ValueError(f'an annotated box has the label {int(labels.max())}, but the model has {num_classes} '
                             "classes; set num_classes to the number of the data set's classes")
        low, extent = bounds.low[scene], bounds.extent[scene]
        parameters = boxes.tensor.new_zeros(len(boxes), 7)
        parameters[:, :3], parameters[:, 3:6], parameters[:, 6] = boxes.gravity_center, boxes.dims, boxes.yaw
        parameters = parameters.to(low)
        if num_angle_bins == 1:
            parameters[:, 6] = 0
        angle_bins, residuals = encode_angle(parameters[:, 6], num_angle_bins)
        return cls(labels.to(low.device), parameters, (parameters[:, :3] - low) / extent, parameters[:, 3:6] / extent,
                   angle_bins, residuals)
