"""Predictions for shapes, and metrics of them without a model."""
import torch
from mmengine.evaluator import Evaluator

from opendlign_mm.evaluation import ZeroShotAccuracy
from opendlign_mm.structures import ShapeDataSample


def sample(label, scores, frozen=None) -> ShapeDataSample:
    made = ShapeDataSample(metainfo=dict(sample_id='s')).set_gt_label(label).set_pred_scores(torch.tensor(scores))
    if frozen is not None:
        made.pred_scores_pretrained = torch.tensor(frozen)
    return made


def evaluate(samples, classes=None, **options):
    evaluator = Evaluator(ZeroShotAccuracy(**options))
    evaluator.dataset_meta = None if classes is None else dict(classes=classes)
    for start in range(0, len(samples), 2):
        evaluator.process(samples[start:start + 2])
    return evaluator.evaluate(len(samples))
