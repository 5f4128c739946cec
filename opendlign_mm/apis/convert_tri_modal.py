"""Convert checkpoints of ULIP, OpenShape and TAMM to this project's format and back."""
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from mmdet3d.registry import MODELS
from torch import Tensor, nn

from ..models import TriModalAligner
from ..models.checkpoints import read_checkpoint
from ..models.stored_class_features import StoredClassFeatures
from ..point_encoders.released import from_released_encoder, to_released_encoder
from ..point_files.array_files import load_npy
from ..source_files import read_json
from .convert_checkpoint import ALLOWED, checkpoint_meta, load_foreign_checkpoint, read_model_config, save_checkpoint

System = Literal['ulip', 'openshape', 'tamm']
StateDict = dict[str, Tensor]

# TAMM's names of the layers of an adapter: after PointBERT, and after SparseConv.
_ADAPTER_LAYERS = {'0': ('classifier.0', 'final.0.0.linear'), '1': ('classifier.1', 'final.0.1.bn'),
                   '4': ('classifier.4', 'final.2.0.linear'), '5': ('classifier.5', 'final.2.1.bn')}
_IMAGE_ADAPTER = 'adapter.'
# SLIP's image tower is timm's, which open_clip wraps; its text tower has CLIP's names.
_SLIP = ((r'^visual\.', 'visual.trunk.'), (r'^image_projection$', 'visual.head.proj.weight'))
_SLIP_TEXT = ('transformer.', 'token_embedding.', 'positional_embedding', 'ln_final.', 'text_projection')


def tri_modal_from_release(system: System, source: str | Path, destination: str | Path, config: str | Path,
                           cfg_options: dict | None = None, image_adapter: str | Path | None = None) -> None:
    """Convert a published checkpoint to this project's format.

    Prints the entries of ``source`` that the model does not have. ULIP's file holds the CLIP that it was aligned with,
    which is converted, too; those of OpenShape and TAMM do not.

    Args:
        system: 'ulip' (state dict with ``point_encoder.`` and ``pc_projection``), 'openshape' (of ViT-bigG-14: prefix
            ``module.``; of ViT-L-14 and ViT-B-32: prefix ``pc_encoder.``) or 'tamm' (an encoder and two adapters).
        source: Checkpoint to read.
        destination: Checkpoint to write.
        config: Config of the model.
        cfg_options: Changes to the config.
        image_adapter: TAMM's file of the CLIP image adapter, which only training needs.

    Raises:
        ValueError: The config is not that of such a model, or entries of it are missing from ``source`` or have another
            shape; nothing is written.
    """
    contents = _read(source)
    released = _state_dict(contents, 'state_dict', source)
    cfg = read_model_config(config, cfg_options)
    slip = _from_slip(released) if system == 'ulip' else {}
    model = _build(system, cfg, config, with_clip=bool(slip))
    converted, left_out = from_released_encoder(released, model.point_encoder)
    state = {f'point_encoder.{key}': value for key, value in converted.items()}
    state.update(_scale(contents, released, model))
    left_out = [key for key in left_out if not key.endswith('logit_scale') and not (slip and _is_slip(key))]
    if system == 'tamm':
        for name in ('image', 'text'):
            part = _state_dict(contents, f'{name}_alignment_adapter', source)
            state.update(_fitting(part, _adapter_names(model, name), f'{source}, {name}_alignment_adapter'))
    if image_adapter is not None:
        if model.image_adapter is None:
            raise ValueError(f'{config} has no image_adapter to put {image_adapter} into')
        names = {f'image_adapter.{key}': (_IMAGE_ADAPTER + key, value)
                 for key, value in model.image_adapter.state_dict().items()}
        state.update(_fitting(load_foreign_checkpoint(image_adapter, 'state_dict'), names, image_adapter))
    if slip and model.text_encoder is not None:
        state.update(_whole_clip(model, slip, Path(source).name))
    save_checkpoint(dict(meta=checkpoint_meta(source, config), state_dict=state), destination, left_out)
    print(f'{len(state)} entries placed, {len(left_out)} not placed -> {destination}')


def tri_modal_to_release(system: System, source: str | Path, destination: str | Path, config: str | Path,
                         cfg_options: dict | None = None) -> None:
    """Convert a checkpoint of this project to the published layout: prefix ``module.``, without the CLIP.

    Args:
        system: 'ulip', 'openshape' or 'tamm'.
        source: Checkpoint to read.
        destination: Checkpoint to write.
        config: Config of the model.
        cfg_options: Changes to the config.
    """
    model = _build(system, read_model_config(config, cfg_options), config, with_clip=False)
    state = load_foreign_checkpoint(source, 'state_dict')
    parts = {name: {key.removeprefix(f'{name}.'): value for key, value in state.items() if key.startswith(f'{name}.')}
             for name in ('point_encoder', 'adapters')}
    model.point_encoder.load_state_dict(parts['point_encoder'])
    contents: dict[str, Any] = dict(state_dict=to_released_encoder(model.point_encoder))
    scale = state.get('alignment_head.logit_scale')
    if system == 'tamm':
        _adapters(model).load_state_dict(parts['adapters'])
        for name in ('image', 'text'):
            contents[f'{name}_alignment_adapter'] = {
                f'module.{released}': value for released, value in _adapter_names(model, name).values()}
    if scale is not None:
        if system == 'ulip':
            contents['state_dict']['module.logit_scale'] = scale
        else:
            contents['logit_scale'] = {'module.logit_scale': scale}
    save_checkpoint(contents, destination)
    print(f"{len(contents['state_dict'])} entries of the encoder in the release's layout -> {destination}")


def convert_slip(source: str | Path, destination: str | Path) -> None:
    """Convert a checkpoint of SLIP, which ULIP is aligned with, to the weight file of an open_clip model.

    Give the result as ``pretrained`` of the CLIP of ``configs/baselines/ulip_pointbert.py``.

    Raises:
        ValueError: ``source`` is not a checkpoint of SLIP.
    """
    weights = _from_slip(load_foreign_checkpoint(source, 'state_dict'))
    if not weights:
        raise ValueError(f"{source} is not a checkpoint of SLIP: it has no 'visual.' and 'image_projection'")
    save_checkpoint(dict(state_dict=weights), destination)
    print(f'{len(weights)} entries -> {destination}')


def convert_class_features(source: str | Path, destination: str | Path, names: str | Path | None = None) -> None:
    """Convert class features that OpenShape publishes to a file that ``class_features`` of a model takes.

    Args:
        source: An .npy file: a dict, class -> dict with ``open_clip_text_feat`` (ModelNet40), or an array (C, D) in the
            alphabetical order of the classes (Objaverse-LVIS).
        destination: The .npz file to write.
        names: For an array: JSON list of the objects, whose ``category`` are the classes.

    Raises:
        ValueError: The file holds something else, or the number of classes differs.
    """
    values = load_npy(source)
    if values.dtype == object and values.ndim == 0:
        entries = values.item()
        if not isinstance(entries, dict) or not all('open_clip_text_feat' in entry for entry in entries.values()):
            raise ValueError(f"{source} has no 'open_clip_text_feat' of each class")
        classes = list(entries)
        values = np.concatenate([np.asarray(entry['open_clip_text_feat']).reshape(1, -1) for entry in entries.values()])
    elif names is None:
        raise ValueError(f'{source} has features without names; give the list of the objects with --names')
    else:
        classes = sorted({entry['category'] for entry in read_json(Path(names))})
    if values.ndim != 2 or len(values) != len(classes):
        raise ValueError(f'{source} has features {values.shape} of {len(classes)} classes; it must be ({len(classes)}, '
                         'D)')
    StoredClassFeatures.write(destination, classes, values)
    print(f'{len(classes)} classes with {values.shape[1]} entries each -> {destination}')


# --- parts ------------------------------------------------------------------------------------------------------------

def _read(source: str | Path) -> dict:
    return read_checkpoint(source, allowed=ALLOWED)


def _state_dict(contents: dict, key: str, source: str | Path) -> StateDict:
    """Return a state dict of a checkpoint; the checkpoint itself where it is one (ViT-L-14, ViT-B-32)."""
    part = contents.get(key)
    if part is None and key == 'state_dict':
        part = contents
    if not isinstance(part, dict) or not all(isinstance(value, Tensor) for value in part.values()):
        raise ValueError(f"{source} has no state dict under '{key}' (it has: {', '.join(map(str, contents))})")
    return part


def _build(system: System, cfg: Any, config: str | Path, with_clip: bool) -> TriModalAligner:
    """Build the model of a config without weights of its CLIP."""
    options = cfg.model
    if str(options.get('type')) != 'TriModalAligner':
        raise ValueError(f'{config} is the config of a {options.get("type")}; give that of a TriModalAligner, e.g. one '
                         f'of configs/baselines/{system}_*.py')
    if (options.get('adapters') is not None) != (system == 'tamm'):
        raise ValueError(f"{config} has {'adapters, which only TAMM has' if options.get('adapters') else 'no adapters'}"
                         f'; give the config of {system}')
    options.class_features = None
    if not with_clip:
        options.text_encoder = None
    elif options.get('text_encoder') is not None:
        options.text_encoder.pretrained = None  # the checkpoint holds it
    return MODELS.build(options)


def _scale(contents: dict, released: Mapping[str, Tensor], model: TriModalAligner) -> StateDict:
    """Return the logarithm of the logit scale, where the checkpoint has one and the config trains."""
    entries = {**released, **contents.get('logit_scale', {})}
    found = [value for key, value in entries.items() if key.removeprefix('module.') == 'logit_scale']
    if not found or model.alignment_head is None:
        return {}
    return {'alignment_head.logit_scale': found[-1].reshape(()).float()}


def _adapter_names(model: TriModalAligner, name: str) -> dict[str, tuple[str, Tensor]]:
    """Return our name of each entry of an adapter -> (TAMM's name, our value)."""
    adapter = _adapters(model)[name]
    column = 0 if 'layers.0.bias' in adapter.state_dict() else 1
    names = {}
    for key, value in adapter.state_dict().items():
        _, layer, rest = key.split('.', 2)
        names[f'adapters.{name}.{key}'] = f'{_ADAPTER_LAYERS[layer][column]}.{rest}', value
    return names


def _adapters(model: TriModalAligner) -> nn.ModuleDict:
    assert model.adapters is not None  # _build checks it
    return model.adapters


def _fitting(released: Mapping[str, Tensor], names: Mapping[str, tuple[str, Tensor]], source: Any) -> StateDict:
    """Return our name -> value of all entries ``names``.

    Raises:
        ValueError: One is missing or has another shape; the message names them.
    """
    stripped = {key.removeprefix('module.'): value for key, value in released.items()}
    wrong = [name for name, value in names.values() if name not in stripped or stripped[name].shape != value.shape]
    if wrong:
        raise ValueError(f'{source} does not fit the adapter of the config; missing or of another shape: '
                         f'{", ".join(wrong[:6])}')
    return {key: stripped[name] for key, (name, _) in names.items()}


def _is_slip(key: str) -> bool:
    key = key.removeprefix('module.')
    return key.startswith(('visual.', *_SLIP_TEXT)) or key == 'image_projection'


def _from_slip(released: Mapping[str, Tensor]) -> StateDict:
    """Return the CLIP in a checkpoint of ULIP or SLIP under open_clip's names; nothing where it has none."""
    weights = {}
    for key, value in released.items():
        key = key.removeprefix('module.')
        if key == 'logit_scale':
            weights[key] = value.reshape(())
        elif _is_slip(key):
            if key == 'image_projection':  # x @ P there, a linear layer here
                value = value.t().contiguous()
            for pattern, replacement in _SLIP:
                key = re.sub(pattern, replacement, key)
            weights[key] = value
    return weights if 'visual.head.proj.weight' in weights else {}


def _whole_clip(model: TriModalAligner, weights: StateDict, label: str) -> StateDict:
    """Load a CLIP into the model and return its entries, with the identity.

    Raises:
        ValueError: An entry is missing or has another shape.
    """
    clip = model.clip_backbone
    expected = clip.clip.state_dict()
    wrong = [key for key, value in expected.items() if key not in weights or weights[key].shape != value.shape]
    if wrong:
        raise ValueError(f"the CLIP in the checkpoint does not fit the config's text_encoder; missing or of another "
                         f'shape: {", ".join(wrong[:6])}')
    with torch.no_grad():
        clip.clip.load_state_dict({key: weights[key] for key in expected})
    clip.pretrained_label, clip._weights_hash = label, None
    state = {f'text_encoder.clip.{key}': value for key, value in clip.clip.state_dict().items()}
    return {**state, 'text_encoder.clip_identity': clip.clip_identity().to_tensor()}
