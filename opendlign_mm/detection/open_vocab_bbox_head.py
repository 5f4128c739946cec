"""Head that turns class scores of boxes into detections."""
import torch
from mmdet3d.registry import MODELS
from mmengine.model import BaseModule
from mmengine.structures import InstanceData
from torch import Tensor

from ..box_ops.nms import multiclass_nms_3d


@MODELS.register_module()
class OpenVocabBBoxHead(BaseModule):
    """Head that turns logits of the classes into probabilities, scores boxes and suppresses duplicates.

    The score of a box for a class is ``objectness ** objectness_power * probability ** probability_power``.

    Args:
        temperature: Temperature of the softmax over classes, > 0. 0.01 is that of CLIP for cosines, which the logits of
            the zero-shot head are, or differ from by little more than a constant. Use 1 where that head itself has
            ``logit_scale='clip'``.
        objectness_power: Exponent of the objectness, >= 0; 0 ignores the objectness.
        probability_power: Exponent of the class probability, >= 0.
        labels_per_box: Number of detections per box, one for each of its most probable classes. None gives one for
            every class, which average precision rewards.
        score_threshold: Score below which detections are dropped.
        nms_threshold: 3D IoU above which the detection of the lower score is dropped.
        class_agnostic_nms: Whether detections of different classes suppress each other.
        nms_of_best_class: Whether a box is suppressed as a whole, by boxes of the same most probable class alone, so
            that each remaining box has a detection of every class; the protocol of CoDA.
        max_detections: Largest number of detections per scene.
        init_cfg: Initialization config of mmengine.

    Raises:
        ValueError: A temperature, exponent, ``labels_per_box`` or ``max_detections`` is out of range.
    """

    def __init__(self,
                 temperature: float = 0.01,
                 objectness_power: float = 1.,
                 probability_power: float = 1.,
                 labels_per_box: int | None = None,
                 score_threshold: float = 0.,
                 nms_threshold: float = 0.25,
                 class_agnostic_nms: bool = False,
                 nms_of_best_class: bool = False,
                 max_detections: int = 1000,
                 init_cfg: dict | None = None) -> None:
        super().__init__(init_cfg)
        if temperature <= 0:
            raise ValueError(f'temperature must be > 0, got {temperature}')
        if min(objectness_power, probability_power) < 0:
            raise ValueError('objectness_power and probability_power must be >= 0, '
                             f'got {objectness_power} and {probability_power}')
        if labels_per_box is not None and labels_per_box < 1:
            raise ValueError(f'labels_per_box must be None or >= 1, got {labels_per_box}')
        if max_detections < 1:
            raise ValueError(f'max_detections must be >= 1, got {max_detections}')
        self.temperature = temperature
        self.objectness_power, self.probability_power = objectness_power, probability_power
        self.labels_per_box, self.score_threshold = labels_per_box, score_threshold
        self.nms_threshold, self.class_agnostic_nms = nms_threshold, class_agnostic_nms
        if class_agnostic_nms and nms_of_best_class:
            raise ValueError('class_agnostic_nms and nms_of_best_class exclude each other; set one of them to False')
        self.nms_of_best_class, self.max_detections = nms_of_best_class, max_detections

    def probabilities(self, class_logits: Tensor) -> Tensor:
        """Compute class probabilities: the softmax over classes of the logits divided by the temperature.

        Args:
            class_logits: Float (K, C), as :meth:`ZeroShotHead.class_logits` returns them.

        Returns:
            Float32 (K, C), each row sums to 1.
        """
        return (class_logits.float() / self.temperature).softmax(dim=-1)

    def predict(self, proposals: InstanceData, probabilities: Tensor) -> InstanceData:
        """Turn the proposals of one scene into detections.

        Args:
            proposals: ``bboxes_3d`` (K boxes) and ``objectness`` (K,).
            probabilities: Float (K, C).

        Returns:
            ``bboxes_3d`` (D boxes), ``scores_3d`` float (D,), descending, ``labels_3d`` int64 (D,), and
            ``proposal_indices`` int64 (D,), the proposal of each detection.

        Raises:
            ValueError: The numbers of proposals and of rows of ``probabilities`` differ.
        """
        if len(proposals) != len(probabilities):
            raise ValueError(f'got {len(proposals)} proposals, but probabilities of {len(probabilities)}')
        num_classes = probabilities.shape[1]
        num_labels = min(self.labels_per_box or num_classes, num_classes)
        across_classes = self.class_agnostic_nms and self.nms_threshold < 1
        if across_classes:  # the best class of a box suppresses its other classes
            num_labels = min(num_labels, 1)
        probable, labels = probabilities.topk(num_labels, dim=1)
        scores = proposals.objectness[:, None]**self.objectness_power * probable**self.probability_power
        # A box whose classes all have probability 0 belongs to the background.
        scores = scores.masked_fill((probabilities == 0).all(dim=1, keepdim=True), -torch.inf)
        if self.nms_of_best_class:
            scores = self._without_suppressed_boxes(proposals, scores, labels)
        if not across_classes:
            scores = torch.full_like(probabilities, -torch.inf).scatter(1, labels, scores)
        threshold = 1. if self.nms_of_best_class else self.nms_threshold
        kept, columns = multiclass_nms_3d(
            proposals.bboxes_3d, scores, threshold, self.score_threshold, self.max_detections)
        detections = InstanceData()
        detections.bboxes_3d = proposals.bboxes_3d[kept]
        detections.scores_3d = scores[kept, columns]
        detections.labels_3d = labels[kept, columns] if across_classes else columns
        detections.proposal_indices = kept
        return detections

    def _without_suppressed_boxes(self, proposals: InstanceData, scores: Tensor, labels: Tensor) -> Tensor:
        """Return scores (K, L) with -inf for boxes that others of the same best class, ``labels[:, 0]``, suppress."""
        best = torch.full((len(labels), int(labels.max()) + 1 if len(labels) else 1), -torch.inf, device=scores.device)
        best = best.to(scores.dtype).scatter(1, labels[:, :1], scores[:, :1])
        kept, _ = multiclass_nms_3d(proposals.bboxes_3d, best, self.nms_threshold)
        suppressed = torch.ones(len(scores), dtype=torch.bool, device=scores.device)
        suppressed[kept] = False
        return scores.masked_fill(suppressed[:, None], -torch.inf)
