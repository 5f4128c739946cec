"""Procedural objects from primitives, so that everything runs without a download."""
from .catalogue import CATEGORIES, ShapeSample, sample_shape

__all__ = ['CATEGORIES', 'ShapeSample', 'sample_shape']
