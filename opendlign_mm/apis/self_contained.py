"""Checkpoints that hold the whole CLIP: the weights that the config names are then not needed."""
from pathlib import Path
from typing import Iterator, Optional, Union

import torch
from mmengine.config import Config


def skip_weights_held_by(checkpoint: Optional[Union[str, Path]], cfg: Config) -> bool:
    """Set ``pretrained=None`` on the CLIP backbones of ``cfg.model`` if the checkpoint holds the CLIP.

    Nothing is then downloaded or looked up for weights that the checkpoint replaces.

    Args:
        checkpoint: Path of a checkpoint; anything that is not a local file is left alone.
        cfg: Changed in place.

    Returns:
        Whether the checkpoint holds a CLIP.
    """
    if checkpoint is None or not Path(checkpoint).is_file() or not _holds_clip(Path(checkpoint)):
        return False
    for backbone in _clip_backbones(cfg.model):
        backbone['pretrained'] = None
    return True


def _holds_clip(path: Path) -> bool:
    try:
        # Mapped, not read: only the names of the entries are looked at.
        contents = torch.load(path, map_location='cpu', mmap=True, weights_only=True)
    except Exception:
        return False  # whoever loads it says what is wrong with it
    entries = contents.get('state_dict', contents) if isinstance(contents, dict) else {}
    return any('.clip.' in f'.{key}' for key in entries)


def _clip_backbones(node) -> Iterator[dict]:
    if isinstance(node, dict):
        if str(node.get('type', '')).endswith('CLIPDepthBackbone'):
            yield node
        node = node.values()
    if not isinstance(node, (str, bytes)) and hasattr(node, '__iter__'):
        for child in node:
            yield from _clip_backbones(child)
