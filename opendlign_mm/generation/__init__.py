"""Depth views to pictures that agree with them. Stages over whole datasets are imported where they are run."""
from .diffusion import DiffusionImageGenerator
from .shaded_texture import ShadedTextureGenerator

__all__ = ['DiffusionImageGenerator', 'ShadedTextureGenerator']
