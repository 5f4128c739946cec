from .zero_shot_accuracy import ZeroShotAccuracy

__all__ = ['ZeroShotAccuracy']
