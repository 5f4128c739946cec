"""From depth views to images that agree with them. Import the stages over whole datasets from their own modules."""
from .diffusion import DiffusionImageGenerator
from .shaded_texture import ShadedTextureGenerator

__all__ = ['DiffusionImageGenerator', 'ShadedTextureGenerator']
