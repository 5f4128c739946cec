"""Functions for notebooks, scripts and the tools: models, features, detections and checkpoints."""
from .convert_checkpoint import load_foreign_checkpoint
from .init_model import init_model, skip_weights_held_by

__all__ = ['init_model', 'load_foreign_checkpoint', 'skip_weights_held_by']
