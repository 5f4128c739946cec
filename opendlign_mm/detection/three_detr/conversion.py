"""The command that converts checkpoints of 3DETR's release, for ``tools/convert_checkpoint.py``."""
import argparse
from pathlib import Path
from typing import Callable

import torch
from mmdet3d.registry import MODELS
from mmengine.config import Config
from mmengine.registry import init_default_scope

from ...atomic_files import atomic_write
from ...version import __version__
from .released import from_released_3detr, to_released_3detr


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
