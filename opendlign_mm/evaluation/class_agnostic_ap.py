"""How well boxes are placed and ranked, whatever their class."""
from typing import Dict, Optional, Sequence

import numpy as np
import torch
from mmdet3d.evaluation import IndoorMetric
from mmdet3d.registry import METRICS


@METRICS.register_module()
class ClassAgnosticAP(IndoorMetric):
    """``IndoorMetric`` of proposals with all classes taken as one: average precision of localisation alone.

    Args:
        iou_thr (Sequence[float]): IoU thresholds.
        key (str): the field of a data sample with ``bboxes_3d`` and ``objectness``.
        kwargs: see ``IndoorMetric``.
    """
    default_prefix = 'class_agnostic'

    def __init__(self, iou_thr: Sequence[float] = (0.25, 0.5), key: str = 'proposals_3d',
                 prefix: Optional[str] = None, **kwargs) -> None:
        super().__init__(iou_thr=list(iou_thr), prefix=prefix, **kwargs)
        self.key = key

    def process(self, data_batch: dict, data_samples: Sequence[dict]) -> None:
        """Keep the annotated boxes and the proposals of each scene."""
        for sample in data_samples:
            if self.key not in sample or sample.get('eval_ann_info') is None:
                raise ValueError(f"ClassAgnosticAP needs '{self.key}' (a detector with proposals) and 'eval_ann_info' "
                                 '(a data set with load_eval_anns=True) in each data sample')
            boxes, truth = sample[self.key]['bboxes_3d'].to('cpu'), sample['eval_ann_info']['gt_bboxes_3d'].to('cpu')
            self.results.append((
                dict(gt_bboxes_3d=truth, gt_labels_3d=np.zeros(len(truth), np.int64)),
                dict(bboxes_3d=boxes, scores_3d=sample[self.key]['objectness'].cpu(),
                     labels_3d=torch.zeros(len(boxes), dtype=torch.int64))))

    def compute_metrics(self, results: list) -> Dict[str, float]:
        """``AP_0.25``, ``AP_0.50``, ...; 0 where no box is annotated at all."""
        if not any(len(annotations['gt_labels_3d']) for annotations, _ in results):
            return {f'AP_{threshold:.2f}': 0. for threshold in self.iou_thr}
        meta = self.dataset_meta
        self.dataset_meta = dict(meta, classes=('object', ))
        try:
            values = super().compute_metrics(results)
        finally:
            self.dataset_meta = meta
        return {f'AP_{threshold:.2f}': values[f'object_AP_{threshold:.2f}'] for threshold in self.iou_thr}
