"""Functions for notebooks, scripts and the tools: models, features, detections and checkpoints."""
from .convert_checkpoint import load_foreign_checkpoint
from .init_model import init_model, skip_weights_held_by
from .model_index import get_model, list_models, resolve_model

__all__ = ['get_model', 'init_model', 'list_models', 'load_foreign_checkpoint', 'resolve_model', 'skip_weights_held_by']
