"""Convert checkpoints of PointCLIP and CLIP2Point to this project's format and back."""
from pathlib import Path
from typing import Any, Literal

from mmdet3d.registry import MODELS

from ..models import CLIP2Point, PointCLIP
from ..models.released_view_systems import (
    adapter_fits,
    from_released_clip2point,
    from_released_pointclip,
    to_released_clip2point,
    to_released_pointclip,
)
from .convert_checkpoint import checkpoint_meta, load_foreign_checkpoint, read_model_config, save_checkpoint
from .init_model import init_model

KINDS: dict[str, type] = dict(pointclip=PointCLIP, clip2point=CLIP2Point)
System = Literal['pointclip', 'clip2point']


def view_system_from_release(system: System, source: str | Path, destination: str | Path, config: str | Path,
                             cfg_options: dict | None = None) -> None:
    """Convert a published checkpoint to this project's format.

    Neither file holds the text tower: the CLIP of the config is built with its weights. The result belongs to that CLIP
    and is refused on another.

    Args:
        system: 'pointclip' (``{'state_dict': adapter, 'epoch': ...}``) or 'clip2point' (a state dict of pre-training,
            ``best_eval.pth``, or of few-shot classification, ``best_test.pth``).
        source: Checkpoint to read.
        destination: Checkpoint to write.
        config: Config of the model.
        cfg_options: Changes to the config.

    Raises:
        ValueError: The config is not that of such a model, or entries of it are missing from ``source`` or have another
            shape; nothing is written.
    """
    released = load_foreign_checkpoint(source, 'state_dict')
    model = _checked(system, MODELS.build(read_model_config(config, cfg_options).model), config)
    if system == 'pointclip':
        adapter = from_released_pointclip(released)
        adapter_fits(model, adapter)
        model.adapter.load_state_dict(adapter)
        left_out, num_placed = sorted(set(released) - _places(released)), len(adapter)
    else:
        state, left_out = from_released_clip2point(released, model)
        incompatible = model.load_state_dict({**model.state_dict(), **state}, strict=True)
        assert not incompatible.missing_keys
        num_placed = len(state)
    contents = dict(meta=checkpoint_meta(source, config), state_dict=model.state_dict())
    save_checkpoint(contents, destination, left_out)
    print(f'{num_placed} entries placed, {len(left_out)} not placed -> {destination}: '
          f'{model.backbone.clip_identity()}')


def view_system_to_release(system: System, source: str | Path, destination: str | Path, config: str | Path,
                           cfg_options: dict | None = None) -> None:
    """Convert a checkpoint of this project to the published layout.

    Args:
        system: 'pointclip' or 'clip2point'.
        source: Checkpoint to read.
        destination: Checkpoint to write.
        config: Config of the model.
        cfg_options: Changes to the config.

    Raises:
        ValueError: The config is not that of such a model, or one of PointCLIP has no adapter.
    """
    model = _checked(system, init_model(config, source, cfg_options=cfg_options), config)
    contents: dict[str, Any]
    if system == 'clip2point':
        contents = to_released_clip2point(model)
    elif model.adapter is None:
        raise ValueError(f'{config} has no adapter, and PointCLIP publishes nothing else; give a config of few-shot '
                         'classification')
    else:
        contents = dict(state_dict=to_released_pointclip(model.adapter), epoch=0)
    save_checkpoint(contents, destination)
    print(f"{len(contents.get('state_dict', contents))} entries in the release's layout -> {destination}")


def _places(released: dict) -> set[str]:
    """Return the names of the entries of an adapter of PointCLIP; Dassl saves nothing else."""
    return {key for key in released if any(part in key for part in ('fusion_ratio', 'global_f.', 'view_f.'))}


def _checked(system: System, model: Any, config: str | Path) -> Any:
    if not isinstance(model, KINDS[system]):
        raise ValueError(f'{config} is the config of a {type(model).__name__}; give one of {KINDS[system].__name__}, '
                         f'e.g. of configs/baselines/{system}_*.py')
    return model
