"""Convert checkpoints of OpenDlign's and 3DETR's releases to this project's format and back.

Checkpoints of other projects are read with PyTorch's restricted unpickler, which runs no code in them.
"""
import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmdet3d.registry import MODELS
from mmengine.config import Config
from mmengine.registry import init_default_scope

from ..atomic_files import atomic_write
from ..config_options import read_config
from ..models import OpenDlign
from ..models.checkpoints import RELEASE, read_checkpoint
from ..models.clip_loading import save_compact_clip
from ..models.released import from_released, load_whole, to_released, whole_state_dict
from ..models.safetensors_files import SUFFIX, save_safetensors
from ..version import __version__
from .init_model import init_model

# Published checkpoints hold tensors, the arguments of the run, and scalars of NumPy, which pickle makes by a function
# whose module differs between NumPy 1 and 2.
ALLOWED: list[Any] = [argparse.Namespace, np.dtype, np.float64(0).__reduce__()[0],
                       *(type(np.dtype(name)) for name in ('float32', 'float64', 'int32', 'int64', 'bool'))]


def load_foreign_checkpoint(path: str | Path, key: str) -> dict:
    """Return the state dict in a checkpoint file.

    Args:
        path: File written by ``torch.save``.
        key: Entry that holds the state dict; without it the whole file is taken as a state dict.

    Returns:
        Tensors on the CPU.

    Raises:
        FileNotFoundError: The file does not exist.
        ValueError: The file is damaged, is not a checkpoint, or holds objects other than tensors, numbers, strings,
            containers of these and ``argparse.Namespace``.
    """
    contents = read_checkpoint(path, allowed=ALLOWED)
    state_dict = contents.get(key, contents)
    if not isinstance(state_dict, dict) or not all(isinstance(value, torch.Tensor) for value in state_dict.values()):
        raise ValueError(f"{path} has no state dict under '{key}' (it has: {', '.join(map(str, contents))})")
    return state_dict


def opendlign_from_release(source: str | Path, destination: str | Path, config: str | Path,
                           cfg_options: dict | None = None, trained_only: bool = False,
                           about: dict | None = None) -> None:
    """Convert a checkpoint of OpenDlign's release (``{'model_state_dict': ...}``) to this project's format.

    Prints the entries of ``source`` that the model does not have.

    Args:
        source: Checkpoint to read.
        destination: Checkpoint to write.
        config: Config of the model.
        cfg_options: Changes to the config.
        trained_only: Whether to leave out the frozen CLIP; by default the checkpoint holds the whole CLIP.
        about: Entries to add to the ``meta`` of the checkpoint.

    Raises:
        ValueError: An entry of the model is missing from ``source``; nothing is written.
    """
    converted, left_out = from_released(load_foreign_checkpoint(source, 'model_state_dict'))
    cfg = read_model_config(config, cfg_options)
    label = cfg.model.backbone.get('pretrained')
    cfg.model.backbone.pretrained = None  # the checkpoint holds the CLIP
    model = MODELS.build(cfg.model)
    left_out += load_whole(model, converted)
    model.backbone.pretrained_label = label or Path(source).name
    state_dict = model.state_dict() if trained_only else whole_state_dict(model)
    meta = {**checkpoint_meta(source, config), RELEASE[0]: RELEASE[1], **(about or {})}
    save_checkpoint(dict(meta=meta, state_dict=state_dict), destination, left_out)
    print(f'{len(converted)} entries placed, {len(left_out)} not placed -> {destination}: '
          f'{model.backbone.clip_identity()}')


def opendlign_to_release(source: str | Path, destination: str | Path, config: str | Path,
                         cfg_options: dict | None = None) -> None:
    """Convert a checkpoint of this project to the layout of OpenDlign's release, CLIP included.

    Args:
        source: Checkpoint to read.
        destination: Checkpoint to write.
        config: Config of the model.
        cfg_options: Changes to the config.
    """
    model = init_model(config, source, cfg_options=cfg_options)
    if not isinstance(model, OpenDlign):
        raise ValueError(f'{config} is the config of a {type(model).__name__}; give the one of the OpenDlign model')
    released = to_released(model)
    save_checkpoint(dict(model_state_dict=released), destination)
    print(f"{len(released)} entries in the release's layout -> {destination}")


def opendlign_to_clip(source: str | Path, destination: str | Path, config: str | Path,
                      cfg_options: dict | None = None) -> None:
    """Write the CLIP whose last blocks are the tuned ones of a checkpoint: a weight file for ``pretrained`` of a model.

    Args:
        source: Checkpoint to read.
        destination: File to write: .safetensors for a CLIP of this package, otherwise a file of ``torch.save``.
        config: Config of the model.
        cfg_options: Changes to the config.

    Raises:
        ValueError: The tuned blocks do not take the place of CLIP's own: they have none, are a residual beside them, or
            are stacked.
    """
    model = init_model(config, source, cfg_options={**(cfg_options or {}), 'model.backbone.precision': 'fp32'})
    if not isinstance(model, OpenDlign):
        raise ValueError(f'{config} is the config of a {type(model).__name__}; give the one of the OpenDlign model')
    backbone = model.backbone
    if backbone.tuning != 'direct':
        raise ValueError(f"the tuned branch of {config} is {backbone.tuning or 'not there'}: only that of "
                         "combine='shared' or 'direct', not stacked, takes the place of CLIP's own blocks")
    with torch.no_grad():
        for block, tuned in zip(backbone.source_blocks(), backbone.tuned_blocks, strict=True):
            block.load_state_dict(tuned.state_dict())
    if backbone.known_token_ids is not None:
        save_compact_clip(backbone.clip, backbone.clip_config, backbone.known_token_ids.tolist(), destination,
                          torch.float32)
    elif Path(destination).suffix == SUFFIX:
        raise ValueError(f'{destination}: give a .pt file, the kind of open_clip\'s weights')
    else:
        save_checkpoint(dict(state_dict=backbone.clip.state_dict()), destination)
    print(f'the CLIP with the tuned blocks of {source} -> {destination}')


def save_trained_part(source: str | Path, destination: str | Path, config: str | Path, cfg_options: dict | None = None,
                      about: dict | None = None) -> None:
    """Write what a checkpoint of this project trained, without the optimizer and the log, and the CLIP it belongs to.

    Args:
        source: Checkpoint to read, e.g. of ``tools/train.py``.
        destination: Checkpoint to write; a .safetensors file is not a pickle and can be passed on safely.
        config: Config of the model.
        cfg_options: Changes to the config.
        about: Entries to add to the ``meta`` of the checkpoint.
    """
    model = init_model(config, source, cfg_options=cfg_options)
    state_dict = model.state_dict()
    known: Any = model.dataset_meta or {}
    names = {key: list(value) for key, value in known.items() if key == 'classes'}
    meta = dict(checkpoint_meta(source, config), **(dict(dataset_meta=names) if names else {}), **(about or {}))
    save_checkpoint(dict(meta=meta, state_dict=state_dict), destination)
    print(f'{len(state_dict)} entries -> {destination}')


def convert_3detr(source: str | Path, destination: str | Path, config: str | Path, cfg_options: dict | None = None,
                  to_release: bool = False, about: dict | None = None) -> None:
    """Convert a checkpoint of 3DETR's release (``{'model': ...}``) to this project's format, or back.

    Args:
        source: Checkpoint to read.
        destination: Checkpoint to write.
        config: Config of the model.
        cfg_options: Changes to the config.
        to_release: Whether to write the release's layout from a checkpoint of this project.
        about: Entries to add to the ``meta`` of the checkpoint.

    Raises:
        ValueError: An entry of the model is missing from ``source`` or has another shape; nothing is written.
    """
    # Imports mmdet3d's models, which takes 11 seconds and which the other conversions do not need.
    from ..detection.three_detr.released import from_released_3detr, to_released_3detr
    cfg = read_model_config(config, cfg_options)
    model = MODELS.build(cfg.model)
    left_out: list[str] = []
    if to_release:
        model.load_state_dict(load_foreign_checkpoint(source, 'state_dict'), strict=True)
        contents = dict(model=to_released_3detr(model.state_dict()))
    else:
        converted, left_out = from_released_3detr(load_foreign_checkpoint(source, 'model'), model)
        model.load_state_dict(converted, strict=True)
        # Both releases order the classes as mmdet3d does; a test on a dataset of another order needs the names.
        classes = cfg.get('test_dataloader', {}).get('dataset', {}).get('metainfo', {}).get('classes') or ()
        named = dict(dataset_meta=dict(classes=tuple(classes))) if len(classes) == model.num_classes else {}
        contents = dict(meta=dict(checkpoint_meta(source, config), **named, **(about or {})), state_dict=converted)
    save_checkpoint(contents, destination, left_out)
    print(f'{len(model.state_dict())} entries placed, {len(left_out)} not placed -> {destination}')


def read_model_config(path: str | Path, cfg_options: dict | None) -> Config:
    """Read a config and apply changes to it."""
    cfg = read_config(path, cfg_options)
    init_default_scope('mmdet3d')
    return cfg


def checkpoint_meta(source: str | Path, config: str | Path) -> dict:
    """Return the ``meta`` of a converted checkpoint."""
    return dict(opendlign_mm=__version__, source=Path(source).name, config=Path(config).name)


def save_checkpoint(contents: dict, destination: str | Path, left_out: Sequence[str] = ()) -> None:
    """Write a checkpoint and print the entries of the source that it does not have."""
    for key in left_out:
        print(f'not placed: {key}')
    if Path(destination).suffix == SUFFIX:
        if 'state_dict' not in contents:
            raise ValueError(f"{destination}: the release's layout is a .pt file of torch.save; give such a name")
        save_safetensors(contents, destination)
        return
    with atomic_write(destination) as unfinished:
        torch.save(contents, unfinished)
