"""Metrics of 3D boxes that tell errors of localization from errors of recognition.

``OpenVocabIndoorMetric`` is the mAP of detection. ``ProposalRecall`` and ``ClassAgnosticAP`` judge the localization of
proposals without their classes, ``BoxClassificationAccuracy`` the classes of the objects that some proposal finds.
"""
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import torch
from mmdet3d.evaluation import IndoorMetric
from mmdet3d.registry import METRICS
from mmengine.evaluator import BaseMetric
from mmengine.logging import MMLogger, print_log
from terminaltables import AsciiTable

from ..box_ops.iou import box_overlaps
from ..datasets.class_names import class_order_of


@METRICS.register_module()
class OpenVocabIndoorMetric(IndoorMetric):
    """``IndoorMetric`` over the classes that occur in the annotations.

    The average precision of a class without annotated boxes is undefined; ``IndoorMetric`` (mmdet3d 1.4) returns NaN
    for it, and for the mean, as soon as one such box is predicted. Here predictions of such classes are ignored, as in
    ScanNet's own benchmark. Boxes annotated as ``-1`` (a class outside the vocabulary), which ``IndoorMetric`` would
    count as the last class, are ignored as well. Predictions that carry ``class_names`` are matched with the classes of
    the dataset by name. Everything else is ``IndoorMetric``.
    """

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Keep the annotations and the predictions of each scene, with labels of the dataset.

        Raises:
            ValueError: The predictions index other classes than those of the dataset.
        """
        super().process(data_batch, [self._with_labels_of_dataset(sample) for sample in data_samples])

    def _with_labels_of_dataset(self, sample: dict) -> dict:
        order = class_order_of(self, sample)
        if order is None:
            return sample
        predictions = dict(sample['pred_instances_3d'])
        labels = predictions['labels_3d']
        predictions['labels_3d'] = torch.from_numpy(np.argsort(order)).to(labels.device)[labels]
        return dict(sample, pred_instances_3d=predictions)

    def compute_metrics(self, results: list) -> dict[str, float]:
        """Compute mAP, mAR and the values of each class, see ``IndoorMetric``.

        Raises:
            ValueError: No scene has an annotated box.
        """
        annotated = np.concatenate([np.asarray(annotations['gt_labels_3d']) for annotations, _ in results])
        annotated = annotated[annotated >= 0]
        if len(annotated) == 0:
            raise ValueError('no scene has an annotated box of a class of the dataset: there is nothing to evaluate')
        kept = []
        for annotations, predictions in results:
            labels = np.asarray(annotations['gt_labels_3d'])
            annotations = dict(
                annotations, gt_labels_3d=labels[labels >= 0], gt_bboxes_3d=annotations['gt_bboxes_3d'][labels >= 0])
            known = np.isin(predictions['labels_3d'].numpy(), annotated)
            kept.append((annotations, {key: value[known] for key, value in predictions.items()}))
        return super().compute_metrics(kept)


@METRICS.register_module()
class ProposalRecall(BaseMetric):
    """Class-agnostic recall: the share of annotated boxes that some proposal overlaps by more than a 3D IoU.

    Args:
        iou_thr: IoU thresholds in [0, 1).
        max_proposals: Numbers of proposals per scene, best first, for which the recall is also reported.
        key: Field of a data sample with ``bboxes_3d`` and ``objectness``.
        collect_device: Device on which mmengine collects the results of several processes.
        prefix: Prefix of the metric names.
    """
    default_prefix = 'proposals'

    def __init__(self,
                 iou_thr: Sequence[float] = (0.25, 0.5),
                 max_proposals: Sequence[int] = (),
                 key: str = 'proposals_3d',
                 collect_device: Literal['cpu', 'gpu'] = 'cpu',
                 prefix: str | None = None) -> None:
        super().__init__(collect_device, prefix)
        if any(not 0 <= threshold < 1 for threshold in iou_thr) or any(count < 1 for count in max_proposals):
            raise ValueError(f'iou_thr must lie in [0, 1) and max_proposals be >= 1, got {iou_thr} and {max_proposals}')
        self.iou_thr, self.max_proposals, self.key = tuple(iou_thr), tuple(max_proposals), key

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Keep the best IoU of each annotated box of a scene, for each number of proposals.

        Raises:
            ValueError: A sample has no proposals or no annotations.
        """
        for sample in data_samples:
            proposals, truth = _proposals_and_truth(self, sample)
            order = proposals['objectness'].cpu().argsort(descending=True, stable=True)
            boxes = proposals['bboxes_3d'].to('cpu')[order]
            overlaps = box_overlaps(boxes, truth)
            best = {
                count: overlaps[:count].max(dim=0).values if overlaps.numel() else torch.zeros(len(truth))
                for count in (*self.max_proposals, None)
            }
            self.results.append(dict(
                best=best, num_proposals=len(boxes), num_dropped=sample.get('num_dropped_proposals')))

    def compute_metrics(self, results: list[dict]) -> dict[str, float]:
        """Compute the recalls and the mean number of proposals.

        Returns:
            ``recall_0.25`` for each threshold, ``recall_0.25@64`` for each of ``max_proposals``, ``per_scene`` (mean
            number of proposals) and, if the detector counts them, ``dropped_per_scene`` (mean number of proposals with
            too few points).
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


@METRICS.register_module()
class ClassAgnosticAP(IndoorMetric):
    """``IndoorMetric`` of proposals with all classes merged into one: average precision of localization alone.

    Args:
        iou_thr: IoU thresholds.
        key: Field of a data sample with ``bboxes_3d`` and ``objectness``.
        prefix: Prefix of the metric names.
        kwargs: Other arguments of ``IndoorMetric``.
    """
    default_prefix = 'class_agnostic'

    def __init__(self, iou_thr: Sequence[float] = (0.25, 0.5), key: str = 'proposals_3d',
                 prefix: str | None = None, **kwargs) -> None:
        super().__init__(iou_thr=list(iou_thr), prefix=prefix, **kwargs)
        self.key = key

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Keep the annotated boxes and the proposals of each scene.

        Raises:
            ValueError: A sample has no proposals or no annotations.
        """
        for sample in data_samples:
            proposals, truth = _proposals_and_truth(self, sample)
            boxes = proposals['bboxes_3d'].to('cpu')
            self.results.append((
                dict(gt_bboxes_3d=truth, gt_labels_3d=np.zeros(len(truth), np.int64)),
                dict(bboxes_3d=boxes, scores_3d=proposals['objectness'].cpu(),
                     labels_3d=torch.zeros(len(boxes), dtype=torch.int64))))

    def compute_metrics(self, results: list) -> dict[str, float]:
        """Compute ``AP_0.25``, ``AP_0.50``, ...; 0 if there are no annotated boxes."""
        if not any(len(annotations['gt_labels_3d']) for annotations, _ in results):
            return {f'AP_{threshold:.2f}': 0. for threshold in self.iou_thr}
        meta = self.dataset_meta
        self.dataset_meta = dict(meta, classes=('object', ))
        try:
            values = super().compute_metrics(results)
        finally:
            self.dataset_meta = meta
        return {f'AP_{threshold:.2f}': values[f'object_AP_{threshold:.2f}'] for threshold in self.iou_thr}


@METRICS.register_module()
class BoxClassificationAccuracy(BaseMetric):
    """Classification accuracy on the annotated objects that some proposal finds: recognition without localization.

    Each annotated box is matched to the proposal that overlaps it most. If the IoU is above the threshold, the object
    counts as found, and the classes of the proposal are compared with its own, by name where the sample carries
    ``class_names``. With ground-truth boxes as proposals this is the accuracy of the classifier on the objects of the
    scenes.

    Args:
        iou_thr: IoU thresholds in [0, 1).
        topk: Values of k of the top-k accuracies.
        key: Field of a data sample with ``bboxes_3d`` and ``class_probabilities``.
        collect_device: Device on which mmengine collects the results of several processes.
        prefix: Prefix of the metric names.
    """
    default_prefix = 'recognition'

    def __init__(self,
                 iou_thr: Sequence[float] = (0.25, 0.5),
                 topk: Sequence[int] = (1, 5),
                 key: str = 'proposals_3d',
                 collect_device: Literal['cpu', 'gpu'] = 'cpu',
                 prefix: str | None = None) -> None:
        super().__init__(collect_device, prefix)
        if any(not 0 <= threshold < 1 for threshold in iou_thr) or not topk or any(count < 1 for count in topk):
            raise ValueError(f'iou_thr must lie in [0, 1) and topk be >= 1, got {iou_thr} and {topk}')
        self.iou_thr, self.topk, self.key = tuple(iou_thr), tuple(topk), key

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Keep the best IoU of each annotated box and the rank of its class in the proposal with that IoU.

        Raises:
            ValueError: A sample has no class probabilities or no annotations.
        """
        for sample in data_samples:
            if 'class_probabilities' not in sample.get(self.key, {}) or sample.get('eval_ann_info') is None:
                raise ValueError(f"BoxClassificationAccuracy needs class_probabilities in '{self.key}' (an "
                                 "OpenVocabDetector3D) and 'eval_ann_info' (a dataset with load_eval_anns=True)")
            proposals, annotations = sample[self.key], sample['eval_ann_info']
            labels = torch.as_tensor(annotations['gt_labels_3d']).long()
            known = labels >= 0  # -1 is a class outside the vocabulary
            truth, labels = annotations['gt_bboxes_3d'].to('cpu')[known], labels[known]
            overlaps = box_overlaps(truth, proposals['bboxes_3d'].to('cpu'))
            overlap, rank = torch.zeros(len(labels)), torch.zeros(len(labels), dtype=torch.long)
            if overlaps.numel():
                overlap, place = overlaps.max(dim=1)
                probabilities = proposals['class_probabilities'].cpu()[place]
                order = class_order_of(self, sample)
                probabilities = probabilities if order is None else probabilities[:, order]
                of_truth = probabilities.gather(1, labels[:, None])
                rank = (probabilities > of_truth).sum(dim=1)
            self.results.append(dict(overlap=overlap, rank=rank, labels=labels))

    def compute_metrics(self, results: list[dict]) -> dict[str, float]:
        """Compute the accuracies over the objects that are found.

        Returns:
            For each threshold ``found_0.25`` (number of objects found) and ``top1_0.25``, ``top5_0.25``, ... in [0, 1];
            0 if no object is found.
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
        table = AsciiTable([header, *zip(*columns, strict=True)])
        table.inner_footing_row_border = True
        print_log('\nClasses of the objects found\n' + table.table, logger=MMLogger.get_current_instance())
        return metrics


def _proposals_and_truth(metric: ProposalRecall | ClassAgnosticAP, sample: dict) -> tuple[Any, Any]:
    """Return the proposals of a scene and, on the CPU, its annotated boxes.

    Raises:
        ValueError: The sample has no proposals or no annotations.
    """
    if metric.key not in sample or sample.get('eval_ann_info') is None:
        raise ValueError(f"{type(metric).__name__} needs '{metric.key}' (a detector with proposals) and "
                         "'eval_ann_info' (a dataset with load_eval_anns=True) in each data sample")
    return sample[metric.key], sample['eval_ann_info']['gt_bboxes_3d'].to('cpu')
