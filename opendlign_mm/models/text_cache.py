"""Class features on disk, so that a vocabulary is encoded once per CLIP."""
import hashlib
import json
import warnings
import zipfile
from pathlib import Path
from typing import Callable, Optional, Sequence, Union

import numpy as np
import torch

from ..atomic_files import atomic_write
from .prompts import UnknownWordsWarning


def text_cache_key(encoder: str, class_names: Sequence[str], templates: Sequence[str]) -> str:
    """What decides the class features, as JSON.

    Args:
        encoder: Names the text encoder by its content; see :meth:`CLIPDepthBackbone.text_encoder_key`.
        class_names: The vocabulary, in its order.
        templates: The templates.
    """
    return json.dumps(dict(encoder=encoder, class_names=list(class_names), templates=list(templates)))


def cached_class_features(cache_dir: Union[str, Path], key: str, compute: Callable[[], torch.Tensor]) -> torch.Tensor:
    """The features kept under ``key``, or those of ``compute``, which are then kept.

    The file is named after the SHA-256 of the key and holds the key; one that cannot be read or holds another key is
    made again. Features that came with an :class:`UnknownWordsWarning` are not kept, so that the warning
    comes each time.

    Args:
        cache_dir: Folder of the files; made if needed.
        key: See :func:`text_cache_key`.
        compute: Gives float32 (C, D).

    Returns:
        float32 (C, D); on the CPU if it was read, as ``compute`` gave it otherwise.
    """
    path = Path(cache_dir) / f'{hashlib.sha256(key.encode()).hexdigest()}.npz'
    kept = _read(path, key)
    if kept is not None:
        return kept
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter('always')
        features = compute()
    for warning in caught:
        warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)
    if not any(issubclass(warning.category, UnknownWordsWarning) for warning in caught):
        with atomic_write(path) as unfinished:
            np.savez(unfinished, key=np.array(key), features=features.detach().cpu().numpy())
    return features


def _read(path: Path, key: str) -> Optional[torch.Tensor]:
    try:
        with np.load(path) as file:
            return torch.from_numpy(file['features']) if str(file['key']) == key else None
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None
