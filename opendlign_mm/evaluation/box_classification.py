"""How often the class is right where the box is."""
from typing import Dict, List, Optional, Sequence

import torch
from mmdet3d.registry import METRICS
from mmengine.evaluator import BaseMetric
from mmengine.logging import MMLogger, print_log
from terminaltables import AsciiTable


@METRICS.register_module()
class BoxClassificationAccuracy(BaseMetric):
    """Accuracy of the classes of annotated objects that some proposal finds: recognition without localisation.

    Each annotated box takes the proposal that overlaps it most; if the overlap is larger than the threshold, the
    object counts as found, and the proposal's classes are compared with its own. With the true boxes as proposals this
    is the accuracy of the classifier on the objects of the scenes.

    Args:
        iou_thr (Sequence[float]): IoU thresholds.
        topk (Sequence[int]): the true class counts among so many most probable ones.
        key (str): the field of a data sample with ``bboxes_3d`` and ``class_probabilities``.
        collect_device (str): 'cpu' or 'gpu', for distributed runs.
        prefix (str, optional): of the metrics' names.
    """
    default_prefix = 'recognition'

    def __init__(self,
                 iou_thr: Sequence[float] = (0.25, 0.5),
                 topk: Sequence[int] = (1, 5),
                 key: str = 'proposals_3d',
                 collect_device: str = 'cpu',
                 prefix: Optional[str] = None) -> None:
        super().__init__(collect_device, prefix)
        if any(not 0 <= threshold < 1 for threshold in iou_thr) or not topk or any(count < 1 for count in topk):
            raise ValueError(f'iou_thr must lie in [0, 1) and topk be >= 1, got {iou_thr} and {topk}')
        self.iou_thr, self.topk, self.key = tuple(iou_thr), tuple(topk), key

    def process(self, data_batch: dict, data_samples: Sequence[dict]) -> None:
        """Keep, for each annotated box, its best overlap and the rank of its class in the box that has it."""
        from ..box_ops.nms import box_overlaps
        for sample in data_samples:
            if 'class_probabilities' not in sample.get(self.key, {}) or sample.get('eval_ann_info') is None:
                raise ValueError(f"BoxClassificationAccuracy needs class_probabilities in '{self.key}' (an "
                                 "OpenVocabDetector3D) and 'eval_ann_info' (a data set with load_eval_anns=True)")
            proposals, annotations = sample[self.key], sample['eval_ann_info']
            labels = torch.as_tensor(annotations['gt_labels_3d']).long()
            known = labels >= 0  # -1 is a class outside the vocabulary
            truth, labels = annotations['gt_bboxes_3d'].to('cpu')[known], labels[known]
            overlaps = box_overlaps(truth, proposals['bboxes_3d'].to('cpu'))
            overlap, rank = torch.zeros(len(labels)), torch.zeros(len(labels), dtype=torch.long)
            if overlaps.numel():
                overlap, place = overlaps.max(dim=1)
                probabilities = proposals['class_probabilities'].cpu()[place]
                of_truth = probabilities.gather(1, labels[:, None])
                rank = (probabilities > of_truth).sum(dim=1)
            self.results.append(dict(overlap=overlap, rank=rank, labels=labels))

    def compute_metrics(self, results: List[dict]) -> Dict[str, float]:
        """``top1_0.25``, ``top5_0.25``, ... in [0, 1], over objects that are found, 0 where none is; and their number
        ``found_0.25``, ...
        """
        overlap, rank, labels = (torch.cat([result[name] for result in results])
                                 for name in ('overlap', 'rank', 'labels'))
        metrics, classes = {}, self.dataset_meta.get('classes') or ()
        columns = [[*(classes[label] if label < len(classes) else str(int(label)) for label in labels.unique()), 'all']]
        for threshold in self.iou_thr:
            found = overlap > threshold
            metrics[f'found_{threshold:.2f}'] = int(found.sum())
            for count in self.topk:
                right = found & (rank < count)
                metrics[f'top{count}_{threshold:.2f}'] = float(right.sum()) / max(1, int(found.sum()))
                groups = [*(labels == label for label in labels.unique()), torch.ones_like(found)]
                columns.append([f'{int((right & group).sum())} of {int((found & group).sum())}' for group in groups])
        header = ['class', *(f'top-{count}, IoU {threshold:.2f}' for threshold in self.iou_thr for count in self.topk)]
        table = AsciiTable([header, *zip(*columns)])
        table.inner_footing_row_border = True
        print_log('\nClasses of the objects that are found\n' + table.table, logger=MMLogger.get_current_instance())
        return metrics
