"""Conversion of checkpoints between this project and the release of 3DETR."""
import re

import torch
from torch import Tensor

from .detector import ThreeDETR

# Prefixes of our and the released names; the rest of a name is the same, except in set abstraction (_point_network).
_PREFIXES = (
    ('set_abstraction.mlp.', 'pre_encoder.mlp_module.'),
    ('encoder.downsampling.mlp.', 'encoder.interim_downsampling.mlp_module.'),
    ('encoder.layers.', 'encoder.layers.'),
    ('memory_projection.', 'encoder_to_decoder_projection.layers.'),
    ('position_features.frequencies', 'pos_embedding.gauss_B'),
    ('query_projection.', 'query_projection.layers.'),
    ('decoder.norm.', 'decoder.norm.'),
    ('decoder.layers.', 'decoder.layers.'),
    ('branches.cls.', 'mlp_heads.sem_cls_head.layers.'),
    ('branches.center.', 'mlp_heads.center_head.layers.'),
    ('branches.size.', 'mlp_heads.size_head.layers.'),
    ('branches.angle_cls.', 'mlp_heads.angle_cls_head.layers.'),
    ('branches.angle_residual.', 'mlp_heads.angle_residual_head.layers.'),
)
_ATTENTION = (('.self_attention.', '.self_attn.'), ('.cross_attention.', '.multihead_attn.'))


def released_name(name: str) -> str:
    """Return the released name of an entry of the state dict of :class:`ThreeDETR`.

    Raises:
        KeyError: The release has no such entry.
    """
    for ours, theirs in _PREFIXES:
        if name.startswith(ours):
            rest = name[len(ours):]
            if ours.endswith('.mlp.'):
                rest = _point_network(rest)
            elif ours == 'decoder.layers.':
                for our_part, their_part in _ATTENTION:
                    rest = rest.replace(our_part, their_part)
            return theirs + rest
    raise KeyError(name)


def _point_network(rest: str) -> str:
    """Convert '4.weight' (BatchNorm of layer 1) to 'layer1.bn.bn.weight'."""
    index, entry = re.fullmatch(r'(\d+)\.(.+)', rest).groups()
    layer, part = divmod(int(index), 3)
    return f'layer{layer}.{("conv", "bn.bn")[part]}.{entry}'


def from_released_3detr(state_dict: dict[str, Tensor], model: ThreeDETR) -> tuple[dict[str, Tensor], list[str]]:
    """Rename the entries of a released 3DETR checkpoint to those of ``model``.

    The release measures angles from +x towards -y, mmdet3d from +x towards +y. With more than one angle bin, the last
    layers of the angle networks are therefore mirrored, which is exact.

    Args:
        state_dict: The released ``model``, with or without the prefix ``module.`` of data-parallel training.
        model: A model of the same architecture, which defines the required entries.

    Returns:
        The converted state dict, which ``model.load_state_dict(strict=True)`` accepts, and the released keys that the
        model does not have.

    Raises:
        ValueError: Entries of the model are missing in the checkpoint or have another shape; the message names all.
    """
    state_dict = {key.removeprefix('module.'): value for key, value in state_dict.items()}
    wanted = model.state_dict()
    names = {name: released_name(name) for name in wanted}
    missing = [theirs for theirs in names.values() if theirs not in state_dict]
    if missing:
        raise ValueError(f'the checkpoint lacks {len(missing)} of {len(names)} entries of this model: '
                         f'{", ".join(missing)}. Is it a released 3DETR, and does the config have its architecture '
                         '(encoder with or without masks)?')
    wrong = [f'{theirs} has the shape {tuple(state_dict[theirs].shape)} instead of {tuple(wanted[name].shape)}'
             for name, theirs in names.items() if state_dict[theirs].shape != wanted[name].shape]
    if wrong:
        raise ValueError('the checkpoint is of another model (number of classes, angle bins or widths): '
                         + '; '.join(wrong))
    converted = {name: state_dict[theirs].clone() for name, theirs in names.items()}
    _mirror_angles(converted)
    return converted, sorted(set(state_dict) - set(names.values()))


def to_released_3detr(state_dict: dict[str, Tensor]) -> dict[str, Tensor]:
    """Rename the entries of a :class:`ThreeDETR` to those of the release; the inverse of :func:`from_released_3detr`.

    Raises:
        ValueError: A ``ThreeDETR`` has no such entries; the message names all.
    """
    state_dict = {name: value.clone() for name, value in state_dict.items()}
    unknown = [name for name in state_dict if not name.startswith(tuple(ours for ours, _ in _PREFIXES))]
    if unknown:
        raise ValueError(f'the checkpoint has entries that are not entries of a ThreeDETR: {", ".join(unknown)}')
    _mirror_angles(state_dict)
    return {released_name(name): value for name, value in state_dict.items()}


def _mirror_angles(state_dict: dict[str, Tensor]) -> None:
    """Negate the angles in place: bin b becomes bin -b, residuals change their sign. Twice is the identity."""
    for branch, sign in (('angle_cls', 1), ('angle_residual', -1)):
        pattern = re.compile(rf'branches\.{branch}\.(\d+)\.(weight|bias)')
        indices = [int(found.group(1)) for found in map(pattern.fullmatch, state_dict) if found]
        for entry in ('weight', 'bias'):
            name = f'branches.{branch}.{max(indices, default=0)}.{entry}'
            if name in state_dict and len(state_dict[name]) > 1:
                bins = len(state_dict[name])
                mirrored = -torch.arange(bins, device=state_dict[name].device) % bins
                state_dict[name] = sign * state_dict[name][mirrored]
