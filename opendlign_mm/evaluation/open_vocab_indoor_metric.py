"""mmdet3d's indoor metric for detectors whose vocabulary is larger than what a data set shows."""
from typing import Dict

import numpy as np
from mmdet3d.evaluation import IndoorMetric
from mmdet3d.registry import METRICS


@METRICS.register_module()
class OpenVocabIndoorMetric(IndoorMetric):
    """``IndoorMetric`` over the classes that occur in the annotations.

    The average precision of a class without a single annotated box is undefined; ``IndoorMetric`` (mmdet3d 1.4) makes
    it NaN as soon as one such box is predicted, and with it the mean. Here predictions of such classes are left out, as
    ScanNet's own benchmark does. Boxes annotated as ``-1`` (a class outside the vocabulary), which ``IndoorMetric``
    would count as the last class, are left out, too. Everything else is ``IndoorMetric``.
    """

    def compute_metrics(self, results: list) -> Dict[str, float]:
        """Compute mAP, mAR and the values of each class; see ``IndoorMetric``."""
        annotated = np.concatenate([np.asarray(annotations['gt_labels_3d']) for annotations, _ in results])
        annotated = annotated[annotated >= 0]
        if len(annotated) == 0:
            raise ValueError('no scene has an annotated box of a class of the data set: there is nothing to evaluate')
        kept = []
        for annotations, predictions in results:
            labels = np.asarray(annotations['gt_labels_3d'])
            annotations = dict(
                annotations, gt_labels_3d=labels[labels >= 0], gt_bboxes_3d=annotations['gt_bboxes_3d'][labels >= 0])
            known = np.isin(predictions['labels_3d'].numpy(), annotated)
            kept.append((annotations, {key: value[known] for key, value in predictions.items()}))
        return super().compute_metrics(kept)
