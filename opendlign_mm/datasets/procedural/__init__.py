"""Procedural objects from primitives, so that everything runs without a download."""
from .catalog import CATEGORIES, ShapeSample, categories_of, sample_shape

__all__ = ['CATEGORIES', 'ShapeSample', 'categories_of', 'sample_shape']
