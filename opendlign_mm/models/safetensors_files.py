"""Checkpoints as .safetensors: they hold tensors and plain values only, so that reading them runs no code."""
import json
import os
import zlib
from collections import OrderedDict
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file

from ..atomic_files import atomic_write

SUFFIX = '.safetensors'
# Entries of a file's metadata: the checkpoint's 'meta' as JSON, and a checksum, which the format itself lacks.
_META, _CHECKSUM = 'opendlign_mm', 'crc32'


def save_safetensors(contents: dict, path: str | Path) -> None:
    """Write a checkpoint, ``{'meta': ..., 'state_dict': ...}``; the file appears whole or not at all.

    Args:
        contents: Its ``meta`` has values of JSON only; tensors that share memory are stored separately.
        path: File to write, .safetensors.

    Raises:
        ValueError: ``path`` has another ending, or ``meta`` holds something else than JSON.
    """
    path = Path(path)
    if path.suffix != SUFFIX:
        raise ValueError(f'{path} must end in {SUFFIX}')
    tensors, places = {}, set()
    for name, value in contents['state_dict'].items():
        value = value.detach().cpu().contiguous()
        place = value.untyped_storage().data_ptr()
        tensors[name] = value.clone() if place in places else value
        places.add(place)
    try:
        meta = json.dumps(contents.get('meta', {}))
    except TypeError as error:
        raise ValueError(f"the 'meta' of a {SUFFIX} checkpoint must be values of JSON: {error}") from error
    with atomic_write(path) as unfinished:
        save_file(tensors, str(unfinished), {_META: meta, _CHECKSUM: str(_checksum(tensors))})
        unfinished.chmod(0o666 & ~_umask())  # safetensors lets only the owner read


def read_safetensors(path: str | Path, verify: bool = True) -> dict[str, Any]:
    """Read a .safetensors file to the CPU: a checkpoint of :func:`save_safetensors`, or any other as its state dict.

    Args:
        path: File to read.
        verify: Whether to compare the checksum, for which every tensor is read; files of others have none.

    Returns:
        ``{'meta': dict, 'state_dict': name -> tensor}``.

    Raises:
        ValueError: The file is damaged.
    """
    with safe_open(str(path), framework='pt') as file:
        about = file.metadata() or {}
        tensors = OrderedDict((name, file.get_tensor(name)) for name in file.keys())
    if verify and _CHECKSUM in about and about[_CHECKSUM] != str(_checksum(tensors)):
        raise ValueError('the checksum of its tensors does not match')
    meta = json.loads(about.get(_META, '{}'))
    if not isinstance(meta, dict):
        raise ValueError("its 'meta' is not a dict")
    return dict(meta=meta, state_dict=tensors)


def read_meta(path: str | Path) -> dict[str, Any]:
    """Return the ``meta`` of a checkpoint without reading its tensors."""
    with safe_open(str(path), framework='pt') as file:
        return json.loads((file.metadata() or {}).get(_META, '{}'))


def _umask() -> int:
    mask = os.umask(0o022)
    os.umask(mask)
    return mask


def _checksum(tensors: dict[str, torch.Tensor]) -> int:
    """Return the CRC-32 of the names and bytes of tensors, whatever their order."""
    checksum = 0
    for name in sorted(tensors):
        checksum = zlib.crc32(name.encode(), checksum)
        # uint8 view: NumPy has no bfloat16.
        checksum = zlib.crc32(tensors[name].reshape(-1).view(torch.uint8).numpy().data, checksum)
    return checksum
