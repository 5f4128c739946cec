"""Which query answers for which annotated box."""
from typing import Dict, List, Tuple

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from ...box_ops.iou import generalized_iou
from .targets import SceneTargets


class HungarianMatcher:
    """Assignment of least total cost, for each scene and decoder layer on its own.

    The cost of a pair is ``- cls * p(class) - objectness * objectness + center * distance - giou * GIoU``; the distance
    is L1 in normalised coordinates.

    Args:
        cls (float): weight of the class probability.
        giou (float): weight of the generalised IoU.
        center (float): weight of the distance of the centres.
        objectness (float): weight of the objectness.
    """

    def __init__(self, cls: float = 1., giou: float = 2., center: float = 0., objectness: float = 0.) -> None:
        self.cls, self.giou, self.center, self.objectness = cls, giou, center, objectness

    @torch.no_grad()
    def cost(self, predictions: Dict[str, Tensor], scene: int, targets: SceneTargets, rotated: bool) -> Tensor:
        """Cost (L, K, G) of scene number ``scene``. ``predictions``: of :func:`decode_boxes`, float32."""
        probability = predictions['cls_logits'][:, scene].softmax(dim=-1)[..., targets.labels]
        cost = -self.cls * probability - self.objectness * predictions['objectness'][:, scene, :, None]
        if self.center:
            offsets = predictions['normalized_center'][:, scene, :, None] - targets.normalized_centers
            cost = cost + self.center * offsets.abs().sum(dim=-1)
        if self.giou:
            boxes = predictions['boxes'][:, scene]
            cost = cost - self.giou * generalized_iou(boxes[:, :, None], targets.boxes, rotated)
        return cost

    def __call__(self, predictions: Dict[str, Tensor], targets: List[SceneTargets],
                 rotated: bool) -> Tuple[Tensor, Tensor, Tensor, Tensor]:
        """Match all scenes and layers.

        Returns:
            int64 (P,) each: layer, scene, query, and box of the scene, for every matched pair.
        """
        pairs = []
        for scene, boxes in enumerate(targets):
            if len(boxes.labels) == 0:
                continue
            for layer, cost in enumerate(self.cost(predictions, scene, boxes, rotated).cpu()):
                queries, matched = linear_sum_assignment(cost)
                pairs += [(layer, scene, query, box) for query, box in zip(queries, matched)]
        device = predictions['cls_logits'].device
        return tuple(torch.tensor(pairs, dtype=torch.long, device=device).reshape(-1, 4).T)
