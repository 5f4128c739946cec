"""Procedural objects from primitives, so that everything runs without a download."""
from .catalog import CATEGORIES, ShapeSample, sample_shape

__all__ = ['CATEGORIES', 'ShapeSample', 'sample_shape']
