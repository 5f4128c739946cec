"""Results of slow transforms, kept on disk so that each object passes the transforms once."""
import hashlib
import json
import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmcv.transforms import BaseTransform
from mmdet3d.registry import TRANSFORMS
from mmengine.logging import print_log

from ...atomic_files import atomic_write
from ...file_keys import file_key
from ...point_files.mesh_references import files_of_mesh
from ...version import __version__

_UNIT_FLOAT = np.dtype([('value_255', np.uint8)])
# Entries of a record that say nothing about an object's points: its place in the dataset and its label.
_NOT_OF_OBJECT = {'sample_idx', 'gt_label'}


@TRANSFORMS.register_module()
class DiskCache(BaseTransform):
    """Transform that runs others once per object and reads their results from disk afterwards.

    A result is found again only for the same settings of the transforms and the same record: all its entries, such as
    the up axis, and path, size and time of each file that it names, of the buffers of a .gltf file and, where one of
    the transforms has ``reads_materials``, of a mesh's materials and textures. So neither an edited file nor another
    folder of the same name gets old results. A damaged entry is made again, and a disk that cannot be written only
    costs time. Random transforms do not belong here.

    Required keys:
        sample_id: Unique name of the object.

    Args:
        transforms: Configs of deterministic transforms.
        keys: Keys of the results to keep: uint8 arrays, or float arrays in [0, 1], which are stored in 8 bits.
        cache_dir: Folder of the files; None runs the transforms each time.

    Raises:
        ValueError: A result to keep is a float array with values outside [0, 1], or the record has an entry that cannot
            be compared with that of another run; the message names the object.
    """

    def __init__(self, transforms: list[dict], keys: Sequence[str], cache_dir: str | None = None) -> None:
        self.transforms = [TRANSFORMS.build(transform) for transform in transforms]
        self.reads_materials = any(getattr(transform, 'reads_materials', False) for transform in self.transforms)
        self.keys = tuple(keys)
        settings = json.dumps([__version__, transforms, self.keys], sort_keys=True, default=repr)
        self.folder = None if cache_dir is None else Path(cache_dir) / _fingerprint(settings.encode())
        self._is_writable = True

    def transform(self, results: dict) -> dict:
        """Add the kept keys to ``results``."""
        path = None if self.folder is None else self.folder / f'{record_key(results, self.reads_materials)}.npz'
        kept = None if path is None else _read(path, self.keys)
        if kept is None:
            for transform in self.transforms:
                results = transform(results)
            kept = {key: _pack(results[key], f"'{key}' of {results.get('sample_id', 'an object')}")
                    for key in self.keys}
            if path is not None and self._is_writable:
                self._write(path, kept)
        # The first pass returns what later passes will read, rounding included.
        results.update({key: _unpack(value) for key, value in kept.items()})
        return results

    def _write(self, path: Path, arrays: dict[str, np.ndarray]) -> None:
        try:
            with atomic_write(path, durable=False) as unfinished:
                np.savez(unfinished, **arrays)
        except OSError as error:
            self._is_writable = False
            print_log(f'the cache {self.folder} cannot be written ({error}); this process goes on without it',
                      'current', logging.WARNING)

    def __repr__(self) -> str:
        return f'{type(self).__name__}(keys={self.keys}, folder={self.folder}, transforms={self.transforms!r})'


def _fingerprint(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]


def record_key(record: dict, materials: bool = False) -> str:
    """Return a name of an object that differs for any other record: other entries, or other files.

    Args:
        record: The record of a dataset.
        materials: Whether the materials and textures of meshes count.

    Raises:
        ValueError: The record has an entry that cannot be compared with that of another run.
    """
    about = {key: _comparable(key, value, record, materials) for key, value in record.items()
             if key not in _NOT_OF_OBJECT}
    content = json.dumps(about, sort_keys=True).encode()
    return f'{file_key(str(record["sample_id"]))}-{_fingerprint(content)}'


def _comparable(key: str, value: Any, record: dict, materials: bool) -> Any:
    """Return what tells an entry of a record from others, in types of JSON."""
    value = value.numpy() if isinstance(value, torch.Tensor) else value
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, np.ndarray) and not value.dtype.hasobject:
        return [str(value.dtype), value.shape, _fingerprint(np.ascontiguousarray(value).tobytes())]
    if isinstance(value, str) and key.endswith(('_path', '_paths')):
        return [_state_of(file) for file in files_of_mesh(value, materials)]
    if isinstance(value, (list, tuple)):
        return [_comparable(key, item, record, materials) for item in value]
    if isinstance(value, dict):
        return {str(name): _comparable(str(name), item, record, materials) for name, item in value.items()}
    if value is None or isinstance(value, (str, int, float)):
        return value
    raise ValueError(f"{record['sample_id']}: DiskCache cannot compare '{key}', a {type(value).__name__}, with that of "
                     'another run; put DiskCache in front of the transform that adds it')


def _state_of(path: str | Path) -> list:
    """Return absolute path, size and time of a file; a missing one is the business of its reader."""
    try:
        state = os.stat(path)
    except (OSError, ValueError):
        return [os.path.abspath(path)]
    return [os.path.abspath(path), state.st_size, state.st_mtime_ns]


def _pack(array: np.ndarray, name: str) -> np.ndarray:
    """Return floats in [0, 1] as a structured array of bytes, which tells them from bytes that were bytes."""
    if not np.issubdtype(array.dtype, np.floating):
        return array
    if not ((array >= 0) & (array <= 1)).all():  # NaN fails too
        raise ValueError(f'{name} must lie in [0, 1] to be cached, got {array.min()} to {array.max()}')
    return np.rint(array * 255).astype(np.uint8).view(_UNIT_FLOAT)


def _unpack(array: np.ndarray) -> np.ndarray:
    return array.view(np.uint8).astype(np.float32) / 255 if array.dtype == _UNIT_FLOAT else array


def _read(path: Path, keys: Sequence[str]) -> dict[str, np.ndarray] | None:
    """Return the arrays of an entry; None if it is missing or damaged."""
    if not path.exists():
        return None
    try:
        with np.load(path, allow_pickle=False) as file:
            return {key: file[key] for key in keys}
    except Exception as error:  # NumPy and zipfile raise many kinds on damaged files
        print_log(f'the cache entry {path} is damaged and made again: {type(error).__name__} {error}', 'current',
                  logging.WARNING)
        return None
