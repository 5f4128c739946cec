"""Depth views to pictures that agree with them."""
from .shaded_texture import ShadedTextureGenerator

__all__ = ['ShadedTextureGenerator']
