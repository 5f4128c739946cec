"""Keep what slow transforms make on disk, so that each object passes them once."""
import hashlib
import json
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from mmcv.transforms import BaseTransform
from mmdet3d.registry import TRANSFORMS

from ...atomic_files import atomic_write
from ...version import __version__

_UNIT_FLOAT = np.dtype([('value_255', np.uint8)])


@TRANSFORMS.register_module()
class DiskCache(BaseTransform):
    """Run ``transforms`` once an object and read their results from disk afterwards.

    A file is named after the object's ``sample_id`` in a folder named after the transforms' settings, so another
    setting never reads old results. It is written to a temporary name and renamed; an unreadable one is made again.
    Random transforms do not belong here.

    Required keys:
        sample_id: str, unique for the object and all that decides its points.

    Args:
        transforms: Configs of deterministic transforms.
        keys: Keys of the results to keep: uint8 arrays, or float arrays in [0, 1], which are stored in 8 bits.
        cache_dir: Folder of the files; None runs the transforms each time.
    """

    def __init__(self, transforms: list[dict], keys: Sequence[str], cache_dir: str | None = None) -> None:
        self.transforms = [TRANSFORMS.build(transform) for transform in transforms]
        self.keys = tuple(keys)
        settings = json.dumps([__version__, transforms, self.keys], sort_keys=True, default=repr)
        fingerprint = hashlib.sha256(settings.encode()).hexdigest()[:16]
        self.folder = None if cache_dir is None else Path(cache_dir) / fingerprint

    def transform(self, results: dict) -> dict:
        """Add the kept keys to ``results``."""
        path = None if self.folder is None else self.folder / f'{results["sample_id"]}.npz'
        kept = None if path is None else _read(path, self.keys)
        if kept is None:
            for transform in self.transforms:
                results = transform(results)
            kept = {key: _pack(results[key]) for key in self.keys}
            if path is not None:
                _write(path, kept)
        # The first pass returns what later passes will read, rounding included.
        results.update({key: _unpack(value) for key, value in kept.items()})
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}(keys={self.keys}, folder={self.folder}, transforms={self.transforms!r})'


def _pack(array: np.ndarray) -> np.ndarray:
    """Floats in [0, 1] become a structured array of bytes, which tells them from bytes that were bytes."""
    if not np.issubdtype(array.dtype, np.floating):
        return array
    return np.rint(array * 255).astype(np.uint8).view(_UNIT_FLOAT)


def _unpack(array: np.ndarray) -> np.ndarray:
    return array.view(np.uint8).astype(np.float32) / 255 if array.dtype == _UNIT_FLOAT else array


def _read(path: Path, keys: Sequence[str]) -> dict | None:
    try:
        with np.load(path) as file:
            return {key: file[key] for key in keys}
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None


def _write(path: Path, arrays: dict) -> None:
    with atomic_write(path, durable=False) as unfinished:
        np.savez(unfinished, **arrays)
