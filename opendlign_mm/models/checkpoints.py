"""Checkpoints: read without running code in them, and refused if they are damaged or do not fit the model."""
import re
import zipfile
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import torch
from mmengine.runner.checkpoint import CheckpointLoader
from torch import nn

from .. import compat  # noqa: F401  (allows what a Runner's checkpoint holds besides tensors)
from .safetensors_files import SUFFIX, read_safetensors
from .trained_state import TrainedStateMixin
from .zero_shot_head import ZeroShotHead

# Entry of the meta of checkpoints that were converted from the authors' release, and its value.
RELEASE = ('release', 'OpenDlign')
Purpose = Literal['inference', 'resume', 'initialization']


class UnreadableCheckpointError(ValueError):
    """Error of a checkpoint file that is damaged, holds Python objects, or is not a checkpoint."""


def read_checkpoint(path: str | Path, mmap: bool = False, allowed: Sequence = ()) -> dict:
    """Read a checkpoint file of ``torch.save``, or a .safetensors file, to the CPU.

    The checksums in the file are verified, so that a changed bit is found as well as a truncated file. Tensors, plain
    containers and what a Runner stores in addition are read; any other object is refused, as it could run code.

    Args:
        path: Checkpoint file.
        mmap: Map the tensors instead of keeping them in memory, to look at a part of them.
        allowed: Further classes and functions that the file may refer to, for
            ``torch.serialization.safe_globals``.

    Returns:
        The contents: a Runner's checkpoint, or a state dict.

    Raises:
        FileNotFoundError: There is no such file.
        UnreadableCheckpointError: The file is damaged, refers to Python objects, or holds something else than a dict.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise FileNotFoundError(f'checkpoint {path} does not exist')
    try:
        if path.suffix == SUFFIX:
            return read_safetensors(path, verify=not mmap)
        is_archive = zipfile.is_zipfile(path)
        if is_archive:
            _verify_checksums(path)
        # On leaving, PyTorch takes back all that it was given, also what was allowed before.
        known = torch.serialization.get_safe_globals()
        with torch.serialization.safe_globals([item for item in allowed if item not in known]):
            # Files from before PyTorch 1.6 are not archives and cannot be mapped.
            contents = torch.load(path, map_location='cpu', mmap=mmap and is_archive, weights_only=True)
    except PermissionError:
        raise
    except Exception as error:  # a damaged pickle raises almost anything
        raise UnreadableCheckpointError(_explanation(path, error)) from error
    if not isinstance(contents, dict) or not isinstance(contents.get('state_dict', {}), dict):
        kind = type(contents.get('state_dict') if isinstance(contents, dict) else contents).__name__
        raise UnreadableCheckpointError(f'{path} is not a checkpoint: it holds a {kind} instead of a state dict')
    return contents


def _verify_checksums(path: Path) -> None:
    with zipfile.ZipFile(path) as archive:
        damaged = archive.testzip()
    if damaged is not None:
        raise zipfile.BadZipFile(f'the checksum of {damaged} does not match')


def _explanation(path: Path, error: Exception) -> str:
    """One line on why the file cannot be read, without PyTorch's advice to load it unsafely."""
    refused = re.search(r"GLOBAL ([\w.]+)|got <class '([\w.]+)'>", str(error))
    if refused:
        return (f'{path} refers to {refused.group(1) or refused.group(2)}, which is neither a tensor nor a plain '
                'value, and cannot be read safely: such a file can run code')
    with open(path, 'rb') as file:
        start = file.read(2)
    if not start:
        reason = 'it is empty'
    elif start == b'PK' and not zipfile.is_zipfile(path):
        reason = 'its end is missing'
    else:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        reason = type(error).__name__ if 'weights_only' in reason else reason[:200]
    return f'{path} is damaged or not a checkpoint: {reason}; write or copy the file again'


def load_checkpoint(model: nn.Module, checkpoint: dict, source: str | Path, purpose: Purpose = 'inference') -> None:
    """Load a checkpoint whose entries are those of the model.

    Args:
        model: Model to load into, without the wrapper of distributed training.
        checkpoint: Runner's checkpoint or state dict.
        source: File that it was read from, for the message.
        purpose: Entries that have to agree. ``'resume'``: all. ``'inference'``: all but those of an alignment head
            and of an adapter of image features, which only training uses. ``'initialization'`` (``load_from`` of a
            training): those of CLIP backbones; the rest may start anew.

    Raises:
        RuntimeError: Entries are missing, unknown or of another shape (the message names them), or the checkpoint
            belongs to another CLIP.
    """
    for module in model.modules():
        if isinstance(module, ZeroShotHead):
            module.has_released_weights = (checkpoint.get('meta') or {}).get(RELEASE[0]) == RELEASE[1]
    entries = checkpoint.get('state_dict', checkpoint)
    state_dict = OrderedDict((key.removeprefix('module.'), value) for key, value in entries.items())
    if hasattr(entries, '_metadata'):
        state_dict._metadata = entries._metadata  # type: ignore[attr-defined]  # versions, by which modules convert
    try:
        incompatible = model.load_state_dict(state_dict, strict=False)
    except (RuntimeError, ValueError) as error:
        found = re.findall(r'size mismatch for (\S+): .*?torch.Size\(\[(.*?)\]\).*?torch.Size\(\[(.*?)\]\)', str(error))
        if not found:
            raise RuntimeError(f'{source} does not fit the model: {error}') from error
        problems = {key: f'has shape ({shape}) instead of ({expected})' for key, shape, expected in found}
    else:
        problems = {key: 'is missing' for key in incompatible.missing_keys if 'num_batches_tracked' not in key}
        problems.update({key: 'has no place in the model' for key in incompatible.unexpected_keys})
    if purpose == 'inference':
        problems = {key: text for key, text in problems.items()
                    if not any(part in f'.{key}' for part in ('.alignment_head.', '.image_adapter.'))}
    elif purpose == 'initialization':
        backbones = tuple(f'{name}.'.lstrip('.') for name, module in model.named_modules()
                          if isinstance(module, TrainedStateMixin))
        problems = {key: text for key, text in problems.items() if key.startswith(backbones)}
    if problems:
        lines = [f'{key} {text}' for key, text in problems.items()]
        more = [f'and {len(lines) - 8} more'] * (len(lines) > 8)
        raise RuntimeError('\n  '.join([f'{source} does not fit the model:', *lines[:8], *more])
                           + '\ngive the config that it was trained with, or train again')


@CheckpointLoader.register_scheme(prefixes=r'.*\.safetensors$', force=True)
def _load_safetensors(filename: str, map_location: str | None = None) -> dict:
    """Let mmengine's Runner load .safetensors files, which it does not know."""
    return read_checkpoint(filename)
