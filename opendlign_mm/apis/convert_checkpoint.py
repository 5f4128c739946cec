"""Convert checkpoints of the released projects to this project's format and back, without running code in them."""
import argparse
import pickle
from pathlib import Path
from typing import Callable, Union

import numpy as np
import torch
from mmdet3d.registry import MODELS
from mmengine.config import Config
from mmengine.registry import init_default_scope

from ..atomic_files import atomic_write
from ..detection.three_detr.released import from_released_3detr, to_released_3detr
from ..version import __version__

# What published checkpoints hold beside tensors: the arguments of the run, and scalars of NumPy.
_ALLOWED = [argparse.Namespace, np.dtype, np.core.multiarray.scalar,
            *(type(np.dtype(name)) for name in ('float32', 'float64', 'int32', 'int64', 'bool'))]


def load_foreign_checkpoint(path: Union[str, Path], key: str) -> dict:
    """The state dict in a checkpoint file.

    Args:
        path: A file of ``torch.save``.
        key: The entry that holds the state dict; a file that is a state dict itself is taken as it is.

    Returns:
        dict of tensors, on the CPU.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file is damaged, is no checkpoint, or holds objects other than tensors, numbers, texts,
            containers of these and ``argparse.Namespace``.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise FileNotFoundError(f'checkpoint {path} does not exist')
    try:
        # On leaving, PyTorch takes back all that it was given, also what others had allowed before.
        known = torch.serialization.get_safe_globals()
        with torch.serialization.safe_globals([item for item in _ALLOWED if item not in known]):
            contents = torch.load(path, map_location='cpu', weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ValueError(f'{path} is damaged or no checkpoint that can be read safely: {reason}') from error
    state_dict = contents.get(key, contents) if isinstance(contents, dict) else contents
    if not isinstance(state_dict, dict) or not all(isinstance(value, torch.Tensor) for value in state_dict.values()):
        found = ', '.join(map(str, contents)) if isinstance(contents, dict) else type(contents).__name__
        raise ValueError(f"{path} has no state dict under '{key}' (it has: {found})")
    return state_dict


def convert_3detr(args: argparse.Namespace, load_checkpoint: Callable[[str, str], dict]) -> None:
    """Convert one checkpoint; every entry of the model must be there, what has no place is named.

    Args:
        args: ``source``, ``destination``, ``config``, ``cfg_options`` and ``to_release``, as the command has them.
        load_checkpoint: ``(path, key) -> state dict``, reads files of others safely.

    Raises:
        ValueError: the checkpoint is not one of the config's model; the message names the entries.
    """
    cfg = Config.fromfile(args.config)
    cfg.merge_from_dict(args.cfg_options or {})
    init_default_scope('mmdet3d')
    model = MODELS.build(cfg.model)
    if args.to_release:
        model.load_state_dict(load_checkpoint(args.source, 'state_dict'), strict=True)
        contents, left_out = dict(model=to_released_3detr(model.state_dict())), []
    else:
        converted, left_out = from_released_3detr(load_checkpoint(args.source, 'model'), model)
        model.load_state_dict(converted, strict=True)
        meta = dict(opendlign_mm=__version__, source=Path(args.source).name, config=Path(args.config).name)
        contents = dict(meta=meta, state_dict=converted)
    for key in left_out:
        print(f'not placed: {key}')
    with atomic_write(args.destination) as unfinished:
        torch.save(contents, unfinished)
    print(f'{len(model.state_dict())} entries placed, {len(left_out)} not placed -> {args.destination}')
