"""Metrics, the results of tests, and few-shot classification.

The metrics of 3D boxes (``box_metrics``) are not imported here: they need mmdet3d's structures, which take 11 seconds
to import. The registry imports them on first use.
"""
from .few_shot_dataset import FewShotSubset
from .retrieval_recall import RetrievalRecall
from .zero_shot_accuracy import ZeroShotAccuracy

__all__ = ['FewShotSubset', 'RetrievalRecall', 'ZeroShotAccuracy']
