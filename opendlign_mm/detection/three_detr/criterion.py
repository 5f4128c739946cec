"""The set loss of 3DETR (section 3.3), for every decoder layer."""
from typing import Dict, List, Optional

import torch
import torch.nn.functional as F
from mmdet.utils import reduce_mean
from torch import Tensor

from ...box_ops.iou import generalized_iou
from .matching import HungarianMatcher
from .targets import SceneTargets


class SetCriterion:
    """Losses between predicted and annotated boxes.

    Args:
        matcher (dict, optional): arguments of :class:`HungarianMatcher`.
        background_weight (float): weight of the background in the cross-entropy of the classes.
        weights (dict, optional): of ``cls``, ``center`` (L1, normalised), ``size`` (L1, normalised), ``giou``,
            ``angle_cls`` and ``angle_residual``; the defaults are those for ScanNet. A loss of weight 0 is left out.
    """
    WEIGHTS = dict(cls=1., center=5., size=1., giou=1., angle_cls=0.1, angle_residual=0.5)

    def __init__(self,
                 matcher: Optional[dict] = None,
                 background_weight: float = 0.25,
                 weights: Optional[dict] = None) -> None:
        unknown = sorted(set(weights or {}) - set(self.WEIGHTS))
        if unknown:
            raise ValueError(f'unknown losses {unknown}; there are {sorted(self.WEIGHTS)}')
        self.matcher = HungarianMatcher(**(matcher or {}))
        self.background_weight = background_weight
        self.weights = dict(self.WEIGHTS, **(weights or {}))

    def __call__(self, predictions: Dict[str, Tensor], targets: List[SceneTargets]) -> Dict[str, Tensor]:
        """Compute all losses.

        Args:
            predictions: Of :func:`decode_boxes`, (L, B, K, ...) each.
            targets: Of B scenes.

        Returns:
            dict of scalars, already weighted: ``loss_cls``, ``loss_center``, ... of the last layer;
            ``d0.loss_cls``, ... of the layers before. ``cardinality_error``, the mean difference between the numbers of
            predicted and annotated objects, is for the log only.
        """
        predictions = {name: value.float() for name, value in predictions.items()}
        predictions['boxes'] = torch.cat(
            [predictions['center'], predictions['size'], predictions['angle'][..., None]], dim=-1)
        rotated = bool(predictions['angle'].any()) or any(bool(boxes.boxes[:, 6].any()) for boxes in targets)
        layer, scene, query, box = self.matcher(predictions, targets, rotated)

        starts = torch.tensor([0] + [len(boxes.labels) for boxes in targets[:-1]], device=box.device).cumsum(0)
        wanted = SceneTargets(*(torch.cat([getattr(boxes, name) for boxes in targets])[starts[scene] + box]
                                for name in SceneTargets.__dataclass_fields__))
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

    def _pair_losses(self, found: Dict[str, Tensor], wanted: SceneTargets, rotated: bool) -> Dict[str, Tensor]:
        """Losses (P,) of matched pairs, without weights."""
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
        """Weighted cross-entropy (L,) over all queries."""
        class_weights = logits.new_ones(logits.shape[-1])
        class_weights[-1] = self.background_weight
        return torch.stack([F.cross_entropy(of_layer.flatten(0, 1), wanted.flatten(), class_weights)
                            for of_layer, wanted in zip(logits, labels)])

    @staticmethod
    @torch.no_grad()
    def _cardinality_error(logits: Tensor, targets: List[SceneTargets]) -> Tensor:
        predicted = (logits.argmax(dim=-1) != logits.shape[-1] - 1).sum(dim=1).float()
        return (predicted - predicted.new_tensor([len(boxes.labels) for boxes in targets])).abs().mean()
