"""Losses of 3DETR (Misra et al., ICCV 2021): targets, Hungarian matching and weighted losses."""
from __future__ import annotations

from dataclasses import dataclass, fields

import torch
import torch.nn.functional as F
from mmdet.utils import reduce_mean
from mmdet3d.structures import BaseInstance3DBoxes
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from ...box_ops.iou import generalized_iou
from .box_coder import SceneBounds, encode_angle


class SetCriterion:
    """Losses between predicted and annotated boxes.

    Args:
        matcher: Arguments of :class:`HungarianMatcher`.
        background_weight: Weight of the background in the cross-entropy of the classes.
        weights: Weights of the losses ``cls``, ``center`` (L1, normalized), ``size`` (L1, normalized), ``giou``,
            ``angle_cls`` and ``angle_residual``; the defaults are those for ScanNet. Losses of weight 0 are not
            computed.

    Raises:
        ValueError: ``weights`` names an unknown loss.
    """
    WEIGHTS = dict(cls=1., center=5., size=1., giou=1., angle_cls=0.1, angle_residual=0.5)

    def __init__(self,
                 matcher: dict | None = None,
                 background_weight: float = 0.25,
                 weights: dict | None = None) -> None:
        unknown = sorted(set(weights or {}) - set(self.WEIGHTS))
        if unknown:
            raise ValueError(f'criterion.weights has unknown losses {unknown}; choose from {sorted(self.WEIGHTS)}')
        self.matcher = HungarianMatcher(**(matcher or {}))
        self.background_weight = background_weight
        self.weights = dict(self.WEIGHTS, **(weights or {}))

    def __call__(self, predictions: dict[str, Tensor], targets: list[SceneTargets]) -> dict[str, Tensor]:
        """Compute all losses.

        Args:
            predictions: Predictions of :func:`decode_boxes`, (L, B, K, ...) each.
            targets: Annotated boxes of B scenes.

        Returns:
            Weighted scalars: ``loss_cls``, ``loss_center``, ... of the last layer, ``d0.loss_cls``, ... of the layers
            before. ``cardinality_error``, the mean difference between the numbers of predicted and annotated objects,
            is only logged.
        """
        predictions = {name: value.float() for name, value in predictions.items()}
        predictions['boxes'] = torch.cat(
            [predictions['center'], predictions['size'], predictions['angle'][..., None]], dim=-1)
        rotated = bool(predictions['angle'].any()) or any(bool(boxes.boxes[:, 6].any()) for boxes in targets)
        layer, scene, query, box = self.matcher(predictions, targets, rotated)

        starts = torch.tensor([0] + [len(boxes.labels) for boxes in targets[:-1]], device=box.device).cumsum(0)
        chosen = starts[scene] + box
        wanted = SceneTargets(*(torch.cat([getattr(boxes, field.name) for boxes in targets])[chosen]
                                for field in fields(SceneTargets)))
        found = {name: value[layer, scene, query] for name, value in predictions.items()}
        num_boxes = layer.new_tensor(sum(len(boxes.labels) for boxes in targets)).float()
        num_boxes = reduce_mean(num_boxes).clamp(min=1)

        pairs = self._pair_losses(found, wanted, rotated)
        num_layers = len(predictions['cls_logits'])
        sums = {name: loss.new_zeros(num_layers).index_add(0, layer, loss) / num_boxes for name, loss in pairs.items()}
        labels = torch.full(predictions['objectness'].shape, predictions['cls_logits'].shape[-1] - 1,
                            device=layer.device)
        labels[layer, scene, query] = wanted.labels
        sums['cls'] = self._class_loss(predictions['cls_logits'], labels)

        losses = {}
        for number in range(num_layers):
            prefix = '' if number == num_layers - 1 else f'd{number}.'
            for name, values in sums.items():
                losses[f'{prefix}loss_{name}'] = self.weights[name] * values[number]
            losses[f'{prefix}cardinality_error'] = self._cardinality_error(predictions['cls_logits'][number], targets)
        return losses

    def _pair_losses(self, found: dict[str, Tensor], wanted: SceneTargets, rotated: bool) -> dict[str, Tensor]:
        """Return the unweighted losses (P,) of matched pairs."""
        residual = found['normalized_residual'].gather(1, wanted.angle_bins[:, None])[:, 0]
        losses = dict(
            center=(found['normalized_center'] - wanted.normalized_centers).abs().sum(dim=1),
            size=(found['normalized_size'] - wanted.normalized_sizes).abs().sum(dim=1),
            angle_cls=F.cross_entropy(found['angle_logits'], wanted.angle_bins, reduction='none'),
            angle_residual=F.huber_loss(residual, wanted.normalized_residuals, reduction='none'))
        if self.weights['giou']:
            losses['giou'] = 1 - generalized_iou(found['boxes'], wanted.boxes, rotated)
        return {name: loss for name, loss in losses.items() if self.weights[name]}

    def _class_loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the cross-entropy (L,) over all queries, with the weight of the background."""
        class_weights = logits.new_ones(logits.shape[-1])
        class_weights[-1] = self.background_weight
        return torch.stack([F.cross_entropy(of_layer.flatten(0, 1), wanted.flatten(), class_weights)
                            for of_layer, wanted in zip(logits, labels, strict=True)])

    @staticmethod
    @torch.no_grad()
    def _cardinality_error(logits: Tensor, targets: list[SceneTargets]) -> Tensor:
        """Return the mean difference between the numbers of predicted and annotated objects of B scenes."""
        predicted = (logits.argmax(dim=-1) != logits.shape[-1] - 1).sum(dim=1).float()
        return (predicted - predicted.new_tensor([len(boxes.labels) for boxes in targets])).abs().mean()


class HungarianMatcher:
    """Assignment of predictions to annotated boxes with the least total cost, for each scene and decoder layer.

    The cost of a pair is ``- cls * p(class) - objectness * objectness + center * distance - giou * GIoU``, where the
    distance is L1 in normalized coordinates.

    Args:
        cls: Weight of the class probability.
        giou: Weight of the generalized IoU.
        center: Weight of the distance between the centers.
        objectness: Weight of the objectness.
    """

    def __init__(self, cls: float = 1., giou: float = 2., center: float = 0., objectness: float = 0.) -> None:
        self.cls, self.giou, self.center, self.objectness = cls, giou, center, objectness

    @torch.no_grad()
    def cost(self, predictions: dict[str, Tensor], scene: int, targets: SceneTargets, rotated: bool) -> Tensor:
        """Compute the costs of all pairs of one scene.

        Args:
            predictions: float32 predictions of :func:`decode_boxes`, and ``boxes`` (L, B, K, 7).
            scene: Index of the scene in the batch.
            targets: G annotated boxes of the scene.
            rotated: Whether any box is rotated.

        Returns:
            Float (L, K, G).
        """
        probability = predictions['cls_logits'][:, scene].softmax(dim=-1)[..., targets.labels]
        cost = -self.cls * probability - self.objectness * predictions['objectness'][:, scene, :, None]
        if self.center:
            offsets = predictions['normalized_center'][:, scene, :, None] - targets.normalized_centers
            cost = cost + self.center * offsets.abs().sum(dim=-1)
        if self.giou:
            boxes = predictions['boxes'][:, scene]
            cost = cost - self.giou * generalized_iou(boxes[:, :, None], targets.boxes, rotated)
        return cost

    def __call__(self, predictions: dict[str, Tensor], targets: list[SceneTargets],
                 rotated: bool) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Match all scenes and layers.

        Args:
            predictions: float32 predictions of :func:`decode_boxes`, and ``boxes`` (L, B, K, 7).
            targets: Annotated boxes of B scenes.
            rotated: Whether any box is rotated.

        Returns:
            Int64 (P,) each: layer, scene, query and annotated box of each matched pair.
        """
        pairs = []
        for scene, boxes in enumerate(targets):
            if len(boxes.labels) == 0:
                continue
            for layer, cost in enumerate(self.cost(predictions, scene, boxes, rotated).cpu()):
                queries, matched = linear_sum_assignment(cost)
                pairs += [(layer, scene, query, box) for query, box in zip(queries, matched, strict=True)]
        device = predictions['cls_logits'].device
        return tuple(torch.tensor(pairs, dtype=torch.long, device=device).reshape(-1, 4).T)


@dataclass
class SceneTargets:
    """Annotated boxes of one scene, encoded like the predictions.

    Attributes:
        labels: Int64 (G,).
        boxes: Float (G, 7), gravity center, size, yaw; meters and radians.
        normalized_centers: Float (G, 3), in [0, 1] within the bounds of the points.
        normalized_sizes: Float (G, 3), in units of the scene's extent.
        angle_bins: Int64 (G,).
        normalized_residuals: Float (G,), in half bin widths.
    """
    labels: Tensor
    boxes: Tensor
    normalized_centers: Tensor
    normalized_sizes: Tensor
    angle_bins: Tensor
    normalized_residuals: Tensor

    @classmethod
    def of(cls, boxes: BaseInstance3DBoxes, labels: Tensor, bounds: SceneBounds, scene: int, num_classes: int,
           num_angle_bins: int, class_agnostic: bool) -> SceneTargets:
        """Encode the boxes of one scene of a batch. Boxes of label -1 (a class that is not trained) are ignored.

        Args:
            boxes: G annotated boxes.
            labels: Int64 (G,), their classes.
            bounds: Bounds of all scenes of the batch.
            scene: Index of the scene in the batch.
            num_classes: Number of classes without the background.
            num_angle_bins: Number of angle bins, 1 for axis-aligned boxes.
            class_agnostic: Whether every box is of class 0.

        Raises:
            ValueError: A label is out of range.
        """
        kept = labels >= 0
        labels, boxes = labels[kept], boxes[kept]
        if class_agnostic:
            labels = labels * 0
        elif len(labels) and labels.max() >= num_classes:
            raise ValueError(f'an annotated box has the label {int(labels.max())}, but the model has {num_classes} '
                             'classes; set num_classes to the number of classes of the dataset')
        low, extent = bounds.low[scene], bounds.extent[scene]
        parameters = boxes.tensor.new_zeros(len(boxes), 7)
        parameters[:, :3], parameters[:, 3:6], parameters[:, 6] = boxes.gravity_center, boxes.dims, boxes.yaw
        parameters = parameters.to(low)
        if num_angle_bins == 1:
            parameters[:, 6] = 0
        angle_bins, residuals = encode_angle(parameters[:, 6], num_angle_bins)
        return cls(labels.to(low.device), parameters, (parameters[:, :3] - low) / extent, parameters[:, 3:6] / extent,
                   angle_bins, residuals)
