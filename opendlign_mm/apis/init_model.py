"""Build a model for inference from a config and a checkpoint."""
import copy
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from mmdet3d.registry import MODELS
from mmengine.config import Config
from mmengine.registry import init_default_scope
from torch import nn

from ..config_options import apply_options, read_config
from ..models.checkpoints import load_checkpoint, read_checkpoint
from ..models.precision import checked_precision
from ..models.trained_state import needs_clip_checkpoint, require_clip_checkpoint

# Neither the imports of a config nor those of a registry's first look-up may run in two threads at once.
_BUILDING = threading.RLock()


def init_model(config: str | Path | Config,
               checkpoint: str | Path | None = None,
               device: str | torch.device = 'cpu',
               cfg_options: dict | None = None) -> nn.Module:
    """Build a model in evaluation mode. Several threads may do so; they build one after the other.

    Args:
        config: Path of a config, or the config itself, which is not changed.
        checkpoint: Path of a checkpoint that ``tools/train.py`` or ``tools/convert_checkpoint.py`` wrote for this
            model and its CLIP; None keeps the weights that the config names. These weights are not needed if the
            checkpoint holds the CLIP.
        device: Device of the model.
        cfg_options: Changes to the config, e.g. ``{'model.backbone.pretrained': 'path'}``.

    Returns:
        The model; ``model.cfg`` is its config, ``model.dataset_meta`` the dataset information of the checkpoint or
        None. If the config sets a vocabulary, ``model.dataset_meta['classes']`` are its names, which predictions index,
        instead of the classes of the training.

    Raises:
        FileNotFoundError: The config or the checkpoint does not exist.
        ValueError: The checkpoint is damaged or holds Python objects.
        RuntimeError: The checkpoint belongs to another CLIP (the message names both) or to another model, or entries
            of it are missing.
    """
    with _BUILDING:
        return _init_model(config, checkpoint, cfg_options).to(device).eval()


def _init_model(config: str | Path | Config, checkpoint: str | Path | None, cfg_options: dict | None) -> nn.Module:
    if not isinstance(config, Config):
        config = read_config(config, cfg_options)
    else:
        config = copy.deepcopy(config)
        if cfg_options:
            apply_options(config, cfg_options)
    if checkpoint is not None and not Path(checkpoint).is_file():
        raise FileNotFoundError(f'checkpoint {checkpoint} does not exist; train one with tools/train.py')
    contents = None if checkpoint is None else read_checkpoint(checkpoint)
    if contents is not None:
        _skip_weights_held_by(contents, config)
    init_default_scope(config.get('default_scope', 'mmdet3d'))
    model = MODELS.build(config.model)
    model.dataset_meta = None
    if contents is not None:
        if needs_clip_checkpoint(model):
            require_clip_checkpoint(contents, str(checkpoint))
        load_checkpoint(model, contents, str(checkpoint))
        model.dataset_meta = contents.get('meta', {}).get('dataset_meta')
    names = _vocabulary_of(model)
    if names is not None:
        model.dataset_meta = dict(model.dataset_meta or {}, classes=names)
    model.cfg = config
    return model


def _vocabulary_of(model: nn.Module) -> tuple[str, ...] | None:
    """Return the names that predictions of a model index; None if no vocabulary is set."""
    owner = model if hasattr(model, 'class_names') else getattr(model, 'zero_shot_head', None)
    return getattr(owner, 'class_names', None)


def skip_weights_held_by(checkpoint: str | Path | None, cfg: Config) -> bool:
    """Set ``pretrained=None`` on the CLIP backbones of ``cfg.model`` if the checkpoint holds the CLIP.

    The weights that the checkpoint replaces are then neither downloaded nor looked up.

    Args:
        checkpoint: Path of a checkpoint; anything that is not a local file is ignored.
        cfg: Config of the model, changed in place.

    Returns:
        Whether the checkpoint holds a CLIP.

    Raises:
        ValueError: The checkpoint is damaged or holds Python objects.
    """
    if checkpoint is None or not Path(checkpoint).is_file():
        return False
    # Mapped instead of kept in memory: only the names of the entries are needed.
    return _skip_weights_held_by(read_checkpoint(checkpoint, mmap=True), cfg)


def _skip_weights_held_by(contents: dict, cfg: Config) -> bool:
    if not any('.clip.' in f'.{key}' for key in contents.get('state_dict', contents)):
        return False
    for backbone in _clip_backbones(cfg.model):
        backbone['pretrained'] = None
    return True


def set_precision(model: dict, precision: str) -> None:
    """Set the precision of the CLIP backbones in the config of a model, in place.

    Args:
        model: The config.
        precision: See :class:`CLIPDepthBackbone`.

    Raises:
        ValueError: There is no such precision, or no backbone that has one.
    """
    precision = checked_precision(precision)
    if not (backbones := _with_precision(model)):
        raise ValueError(f'a {model["type"]} without CLIPDepthBackbone has no precision: leave it out')
    for backbone in backbones:
        backbone['precision'] = precision


def use_half_precision(model: dict) -> bool:
    """Set ``precision='auto'`` on the CLIP backbones in the config of a model that compute in float32: ``--amp``.

    Returns:
        Whether there is a backbone with a precision.
    """
    backbones = _with_precision(model)
    for backbone in backbones:
        if backbone.get('precision', 'fp32') == 'fp32':
            backbone['precision'] = 'auto'
    return bool(backbones)


def _with_precision(model: dict) -> list[dict]:
    return [node for node in _clip_backbones(model) if str(node['type']).endswith('CLIPDepthBackbone')]


def _clip_backbones(node: Any) -> Iterator[dict]:
    """Yield the configs of CLIP backbones anywhere in a config."""
    if isinstance(node, dict):
        if str(node.get('type', '')).endswith(('CLIPDepthBackbone', 'CLIPTwinBackbone')):
            yield node
        node = node.values()
    if not isinstance(node, (str, bytes)) and hasattr(node, '__iter__'):
        for child in node:
            yield from _clip_backbones(child)
