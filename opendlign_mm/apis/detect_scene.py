"""Detect objects in one scene and collect what a page or a figure shows of them."""
from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from ..box_ops.iou import box_overlaps
from ..datasets.class_names import vocabulary_of
from ..structures import SceneDetections

if TYPE_CHECKING:  # mmdet3d's structures take 11 seconds to import
    from mmdet3d.structures import BaseInstance3DBoxes

    from ..detection import OpenVocabDetector3D


@torch.no_grad()
def detect_scene(detector: OpenVocabDetector3D, batch: dict, class_names: Sequence[str], max_boxes: int = 30,
                 num_classes: int = 5) -> SceneDetections:
    """Detect objects in one scene.

    Args:
        detector: Detector in evaluation mode; its vocabulary is set to ``class_names``.
        batch: Preprocessed batch of one scene.
        class_names: Classes of the dataset, which labels index.
        max_boxes: Maximum number of predicted boxes, best first.
        num_classes: Number of most probable classes reported for each box.
    """
    names = vocabulary_of(class_names)
    detector.set_vocabulary(names)
    sample = detector.predict(batch['inputs'], batch['data_samples'])[0]
    points = batch['inputs']['points'][0]
    found = sample.pred_instances_3d[:max_boxes]
    labels = [f'{names[label]} {score:.2f}' for label, score in zip(found.labels_3d, found.scores_3d, strict=True)]
    truth = getattr(sample, 'eval_ann_info', None)
    gt_boxes = truth['gt_bboxes_3d'].to(points.device) if truth else None
    gt_labels = [names[label] if label >= 0 else 'other' for label in truth['gt_labels_3d']] if truth else []
    classes, depth_views = [], None
    if len(found):
        found.objectness = found.scores_3d
        found, crops = detector.crop_proposals(points, found)
        depth_views = detector.depth_views(crops)
        for row in sample.proposals_3d.class_probabilities[found.proposal_indices]:
            best = row.topk(min(num_classes, len(names)))
            classes.append([(names[label], float(value)) for value, label in zip(*best, strict=True)])
    return SceneDetections(
        Path(getattr(sample, 'lidar_path', 'scene')).stem, points, found.bboxes_3d, labels, classes,
        _matches(found.bboxes_3d, gt_boxes, gt_labels), depth_views, gt_boxes, gt_labels)


def _matches(boxes: BaseInstance3DBoxes, gt_boxes: BaseInstance3DBoxes | None, gt_labels: list[str]
             ) -> list[str]:
    """Describe, for each predicted box, the ground-truth box that overlaps it most; '' without ground truth."""
    if gt_boxes is None:
        return [''] * len(boxes)
    if not len(gt_boxes):
        return ['no ground truth here'] * len(boxes)
    matches = []
    for row in box_overlaps(boxes, gt_boxes):
        overlap, index = row.max(dim=0)
        match = f'ground truth: {gt_labels[index]} (IoU {overlap:.2f})'
        matches.append(match if overlap > 0 else 'no ground truth here')
    return matches
