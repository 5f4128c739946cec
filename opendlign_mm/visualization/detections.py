"""The pictures of one scene: boxes from above, and the depth views of what is in them."""
from pathlib import Path
from typing import List, Sequence, Union

import torch

from ..detection import OpenVocabDetector3D
from ..detection.box_nms import box_overlaps
from ..engine.vocabulary_hook import vocabulary_of
from .boxes import draw_scene_from_above
from .contact_sheet import depth_contact_sheet


@torch.no_grad()
def draw_scene(detector: OpenVocabDetector3D,
               batch: dict,
               class_names: Sequence[str],
               out_dir: Union[str, Path],
               max_boxes: int = 30,
               num_classes: int = 3) -> List[Path]:
    """Detect in one scene and draw it.

    Args:
        detector (OpenVocabDetector3D): in evaluation mode; its vocabulary is set to ``class_names``.
        batch (dict): a preprocessed batch of one scene.
        class_names (Sequence[str]): those of the data set, to which labels refer.
        out_dir (str | Path): directory to write to.
        max_boxes (int): most predicted boxes, best first.
        num_classes (int): most probable classes written beside the views of a box.

    Returns:
        list[Path]: ``SCENE_boxes.png`` and, if anything is detected, ``SCENE_views.png``.
    """
    names = vocabulary_of(class_names)
    detector.set_vocabulary(names)
    sample = detector.predict(batch['inputs'], batch['data_samples'])[0]
    points = batch['inputs']['points'][0]
    found = sample.pred_instances_3d[:max_boxes]
    scene = Path(getattr(sample, 'lidar_path', 'scene')).stem
    truth = getattr(sample, 'eval_ann_info', None)
    true_boxes = truth['gt_bboxes_3d'].to(points.device) if truth else None
    true_names = [names[label] if label >= 0 else '' for label in truth['gt_labels_3d']] if truth else []
    paths = [
        draw_scene_from_above(
            points, Path(out_dir) / f'{scene}_boxes.png', found.bboxes_3d,
            [f'{names[label]} {score:.2f}' for label, score in zip(found.labels_3d, found.scores_3d)], true_boxes,
            true_names, scene)
    ]
    if len(found) == 0:
        return paths
    found.objectness = found.scores_3d
    found, crops = detector.crop_proposals(points, found)
    depth_views = detector.projection(crops)
    scores = detector.classifier.zero_shot(depth_views)
    probabilities = detector.bbox_head.probabilities(scores, detector.projection.num_views,
                                                     detector.classifier.zero_shot_head.aggregation)
    overlaps = None if true_boxes is None or not len(true_boxes) else box_overlaps(found.bboxes_3d, true_boxes)
    titles = []
    for index, row in enumerate(probabilities):
        best = row.topk(min(num_classes, len(names)))
        lines = [f'{names[label]} {value:.2f}' for value, label in zip(*best)]
        if overlaps is not None:
            iou, match = overlaps[index].max(dim=0)
            lines.append(f'true: {true_names[match]} (IoU {iou:.2f})' if iou > 0 else 'true: nothing here')
        titles.append('\n'.join(lines))
    return paths + [depth_contact_sheet(depth_views, titles, Path(out_dir) / f'{scene}_views.png')]
