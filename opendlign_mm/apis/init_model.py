"""Build a model for inference from a config and a checkpoint."""
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from mmdet3d.registry import MODELS
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.runner.checkpoint import _load_checkpoint, _load_checkpoint_to_model
from torch import nn

from ..models.trained_state import require_clip_checkpoint


def init_model(config: str | Path | Config,
               checkpoint: str | Path | None = None,
               device: str | torch.device = 'cpu',
               cfg_options: dict | None = None) -> nn.Module:
    """Build a model in evaluation mode.

    Args:
        config: Path of a config, or the config itself.
        checkpoint: Path of a checkpoint that ``tools/train.py`` or ``tools/convert_checkpoint.py`` wrote for this
            model and its CLIP; None keeps the weights that the config names. These weights are not needed if the
            checkpoint holds the CLIP.
        device: Device of the model.
        cfg_options: Changes to the config, e.g. ``{'model.backbone.pretrained': 'path'}``.

    Returns:
        The model; ``model.cfg`` is its config, ``model.dataset_meta`` the dataset information of the checkpoint or
        None.

    Raises:
        FileNotFoundError: The config or the checkpoint does not exist.
        RuntimeError: The checkpoint belongs to another CLIP (the message names both) or to another model.
    """
    if not isinstance(config, Config):
        if not Path(config).is_file():
            raise FileNotFoundError(f'config {config} does not exist')
        config = Config.fromfile(config)
    if cfg_options:
        config.merge_from_dict(cfg_options)
    if checkpoint is not None and not Path(checkpoint).is_file():
        raise FileNotFoundError(f'checkpoint {checkpoint} does not exist; train one with tools/train.py')
    skip_weights_held_by(checkpoint, config)
    init_default_scope(config.get('default_scope', 'mmdet3d'))
    model = MODELS.build(config.model)
    model.dataset_meta = None
    if checkpoint is not None:
        contents = _load_checkpoint(str(checkpoint), map_location='cpu')
        require_clip_checkpoint(contents, str(checkpoint))
        _load_checkpoint_to_model(model, contents)
        model.dataset_meta = contents.get('meta', {}).get('dataset_meta')
    model.cfg = config
    return model.to(device).eval()


def skip_weights_held_by(checkpoint: str | Path | None, cfg: Config) -> bool:
    """Set ``pretrained=None`` on the CLIP backbones of ``cfg.model`` if the checkpoint holds the CLIP.

    The weights that the checkpoint replaces are then neither downloaded nor looked up.

    Args:
        checkpoint: Path of a checkpoint; anything that is not a local file is ignored.
        cfg: Config of the model, changed in place.

    Returns:
        Whether the checkpoint holds a CLIP.
    """
    if checkpoint is None or not Path(checkpoint).is_file() or not _holds_clip(Path(checkpoint)):
        return False
    for backbone in _clip_backbones(cfg.model):
        backbone['pretrained'] = None
    return True


def _holds_clip(path: Path) -> bool:
    """Return whether a checkpoint has entries of a CLIP; False if it cannot be read."""
    try:
        # Mapped instead of read: only the names of the entries are needed.
        contents = torch.load(path, map_location='cpu', mmap=True, weights_only=True)
    except Exception:
        return False  # loading it later reports what is wrong with it
    entries = contents.get('state_dict', contents) if isinstance(contents, dict) else {}
    return any('.clip.' in f'.{key}' for key in entries)


def _clip_backbones(node: Any) -> Iterator[dict]:
    """Yield the configs of CLIP backbones anywhere in a config."""
    if isinstance(node, dict):
        if str(node.get('type', '')).endswith('CLIPDepthBackbone'):
            yield node
        node = node.values()
    if not isinstance(node, (str, bytes)) and hasattr(node, '__iter__'):
        for child in node:
            yield from _clip_backbones(child)
