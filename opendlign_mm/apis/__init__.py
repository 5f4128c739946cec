"""Functions and classes for notebooks, scripts and the tools: models, inferencers, features and checkpoints."""
from importlib import import_module
from typing import Any

from .convert_checkpoint import load_foreign_checkpoint
from .init_model import init_model, skip_weights_held_by, use_half_precision
from .model_index import get_model, list_models, resolve_model

__all__ = ['FeatureExtractor', 'SceneInferencer', 'ShapeInferencer', 'get_model', 'init_model', 'list_models',
           'load_foreign_checkpoint', 'read_vocabulary', 'resolve_model', 'skip_weights_held_by',
           'use_half_precision']

# Imported when they are first used.
_LAZY = dict(FeatureExtractor='feature_extractor', SceneInferencer='scene_inferencer',
             ShapeInferencer='shape_inferencer', read_vocabulary='vocabulary')


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(import_module(f'{__name__}.{_LAZY[name]}'), name)
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
