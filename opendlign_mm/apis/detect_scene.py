"""What a detector finds in one scene, with what is worth showing of it."""
from dataclasses import dataclass
from pathlib import Path
from typing import List, Optional, Sequence, Tuple

import torch
from mmdet3d.structures import BaseInstance3DBoxes
from torch import Tensor

from ..box_ops.nms import box_overlaps
from ..detection import OpenVocabDetector3D
from ..engine.vocabulary_hook import vocabulary_of


@dataclass(frozen=True)
class SceneDetections:
    """Detections of one scene, best first, and its annotations.

    Attributes:
        name: of the scene: the stem of its file of points.
        points: float (N, >=3), metres, z up; colours as in :func:`draw_scene_from_above`.
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
    labels: List[str]
    classes: List[List[Tuple[str, float]]]
    matches: List[str]
    depth_views: Optional[Tensor]
    true_boxes: Optional[BaseInstance3DBoxes]
    true_labels: List[str]


@torch.no_grad()
def detect_scene(detector: OpenVocabDetector3D, batch: dict, class_names: Sequence[str], max_boxes: int = 30,
                 num_classes: int = 5) -> SceneDetections:
    """Detect in one scene.

    Args:
        detector (OpenVocabDetector3D): in evaluation mode; its vocabulary is set to ``class_names``.
        batch (dict): a preprocessed batch of one scene.
        class_names (Sequence[str]): those of the data set, to which labels refer.
        max_boxes (int): most predicted boxes, best first.
        num_classes (int): most probable classes of each box.
    """
    names = vocabulary_of(class_names)
    detector.set_vocabulary(names)
    sample = detector.predict(batch['inputs'], batch['data_samples'])[0]
    points = batch['inputs']['points'][0]
    found = sample.pred_instances_3d[:max_boxes]
    labels = [f'{names[label]} {score:.2f}' for label, score in zip(found.labels_3d, found.scores_3d)]
    truth = getattr(sample, 'eval_ann_info', None)
    true_boxes = truth['gt_bboxes_3d'].to(points.device) if truth else None
    true_labels = [names[label] if label >= 0 else 'other' for label in truth['gt_labels_3d']] if truth else []
    classes, depth_views = [], None
    if len(found):
        found.objectness = found.scores_3d
        found, crops = detector.crop_proposals(points, found)
        depth_views = detector.projection(crops)
        probabilities = detector.class_probabilities(depth_views)
        for row in probabilities:
            best = row.topk(min(num_classes, len(names)))
            classes.append([(names[label], float(value)) for value, label in zip(*best)])
    return SceneDetections(
        Path(getattr(sample, 'lidar_path', 'scene')).stem, points, found.bboxes_3d, labels, classes,
        _matches(found.bboxes_3d, true_boxes, true_labels), depth_views, true_boxes, true_labels)


def _matches(boxes: BaseInstance3DBoxes, true_boxes: Optional[BaseInstance3DBoxes], true_labels: List[str]
             ) -> List[str]:
    if true_boxes is None:
        return [''] * len(boxes)
    if not len(true_boxes):
        return ['true: nothing here'] * len(boxes)
    matches = []
    for row in box_overlaps(boxes, true_boxes):
        overlap, match = row.max(dim=0)
        matches.append(f'true: {true_labels[match]} (IoU {overlap:.2f})' if overlap > 0 else 'true: nothing here')
    return matches
