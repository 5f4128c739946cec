from .retrieval_recall import RetrievalRecall
from .zero_shot_accuracy import ZeroShotAccuracy

__all__ = ['RetrievalRecall', 'ZeroShotAccuracy']
