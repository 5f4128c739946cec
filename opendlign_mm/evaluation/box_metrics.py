"""How many objects the proposals find, whatever their class."""
from typing import Dict, List, Optional, Sequence

import torch
from mmdet3d.registry import METRICS
from mmengine.evaluator import BaseMetric
from mmengine.logging import MMLogger, print_log
from terminaltables import AsciiTable


@METRICS.register_module()
class ProposalRecall(BaseMetric):
    """Class-agnostic recall: the share of annotated boxes that some proposal overlaps by more than a 3D IoU.

    Stands beside mmdet3d's ``IndoorMetric``: that one judges boxes with classes, this one tells errors of localisation
    from those of recognition.

    Args:
        iou_thr (Sequence[float]): IoU thresholds.
        max_proposals (Sequence[int], optional): also report the recall of so many proposals per scene, best first.
        key (str): the field of a data sample with ``bboxes_3d`` and ``objectness``.
        collect_device (str): 'cpu' or 'gpu', for distributed runs.
        prefix (str, optional): of the metrics' names.
    """
    default_prefix = 'proposals'

    def __init__(self,
                 iou_thr: Sequence[float] = (0.25, 0.5),
                 max_proposals: Sequence[int] = (),
                 key: str = 'proposals_3d',
                 collect_device: str = 'cpu',
                 prefix: Optional[str] = None) -> None:
        super().__init__(collect_device, prefix)
        if any(not 0 <= threshold < 1 for threshold in iou_thr) or any(count < 1 for count in max_proposals):
            raise ValueError(f'iou_thr must lie in [0, 1) and max_proposals be >= 1, got {iou_thr} and {max_proposals}')
        self.iou_thr, self.max_proposals, self.key = tuple(iou_thr), tuple(max_proposals), key

    def process(self, data_batch: dict, data_samples: Sequence[dict]) -> None:
        """Keep, per scene, the best IoU of each annotated box for each number of proposals."""
        from ..box_ops.nms import box_overlaps
        for sample in data_samples:
            if self.key not in sample or sample.get('eval_ann_info') is None:
                raise ValueError(f"ProposalRecall needs '{self.key}' (a detector with proposals) and 'eval_ann_info' "
                                 "(a data set with load_eval_anns=True) in each data sample")
            truth, proposals = sample['eval_ann_info']['gt_bboxes_3d'], sample[self.key]
            order = proposals['objectness'].cpu().argsort(descending=True, stable=True)
            boxes = proposals['bboxes_3d'].to('cpu')[order]
            overlaps = box_overlaps(boxes, truth.to('cpu'))
            best = {
                count: overlaps[:count].max(dim=0).values if overlaps.numel() else torch.zeros(len(truth))
                for count in (*self.max_proposals, None)
            }
            self.results.append(dict(
                best=best, num_proposals=len(boxes), num_dropped=sample.get('num_dropped_proposals')))

    def compute_metrics(self, results: List[dict]) -> Dict[str, float]:
        """Recalls ``recall_0.25``, ..., ``recall_0.25@64``, ... and ``per_scene``, the mean number of proposals; where
        the detector counts them, ``dropped_per_scene``, the mean number of those dropped for want of points.
        """
        metrics, rows = {}, []
        for count in (*self.max_proposals, None):
            best = torch.cat([result['best'][count] for result in results])
            row = ['all' if count is None else str(count)]
            for threshold in self.iou_thr:
                recall = float((best > threshold).float().mean()) if len(best) else 0.
                metrics[f'recall_{threshold:.2f}' + ('' if count is None else f'@{count}')] = recall
                row.append(f'{recall:.4f}')
            rows.append(row)
        metrics['per_scene'] = sum(result['num_proposals'] for result in results) / len(results)
        dropped = [result['num_dropped'] for result in results if result['num_dropped'] is not None]
        if dropped:
            metrics['dropped_per_scene'] = sum(dropped) / len(dropped)
        header = ['proposals'] + [f'recall_{threshold:.2f}' for threshold in self.iou_thr]
        print_log('\nClass-agnostic recall of the proposals\n' + AsciiTable([header, *rows]).table,
                  logger=MMLogger.get_current_instance())
        return metrics
