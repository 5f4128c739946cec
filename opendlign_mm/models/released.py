"""Checkpoints in the layout of the authors' release: renaming of their entries, and whole state dicts."""
import torch

from .opendlign import OpenDlign

CONTROL_BLOCKS = 'clip_model.visual.transformer.depth_control_visual.resblocks.'
# A frozen duplicate of CLIP's logit scale at the top, and CLIP's causal mask, which open_clip makes anew.
REDUNDANT = ('logit_scale', 'clip_model.attn_mask')

StateDict = dict[str, torch.Tensor]


def from_released(state_dict: StateDict) -> tuple[StateDict, list[str]]:
    """Rename the entries of a released OpenDlign checkpoint to those of :class:`OpenDlign`.

    The release keeps a whole open_clip model under ``clip_model`` with the trainable copy inside its image
    transformer.

    Args:
        state_dict: Released state dict, with or without the ``module.`` of data-parallel training.

    Returns:
        The renamed entries, and the names of the entries that are left out: duplicates of others, and unknown ones.

    Raises:
        ValueError: The state dict is not that of a released OpenDlign checkpoint.
    """
    state_dict = {key.removeprefix('module.'): value for key, value in state_dict.items()}
    if not any(key.startswith(CONTROL_BLOCKS) for key in state_dict):
        some = ', '.join(list(state_dict)[:3]) or 'nothing'
        raise ValueError(f"this is not a released OpenDlign checkpoint: no entry starts with '{CONTROL_BLOCKS}' (it "
                         f'has {some}, ...)')
    renamed, left_out = {}, []
    for key, value in state_dict.items():
        if key in REDUNDANT or not key.startswith('clip_model.'):
            left_out.append(key)
        elif key.startswith(CONTROL_BLOCKS):
            renamed['backbone.tuned_blocks.' + key.removeprefix(CONTROL_BLOCKS)] = value
        else:
            renamed['backbone.clip.' + key.removeprefix('clip_model.')] = value
    return renamed, left_out


def to_released(model: OpenDlign) -> StateDict:
    """Return the whole state dict of an ``OpenDlign`` model under the names of the release.

    It is the inverse of :func:`from_released`.

    Raises:
        ValueError: The backbone has no trainable copy, which the release always has.
    """
    if not model.backbone.num_blocks:
        raise ValueError('a released checkpoint has a trainable copy of the last block; this model has num_blocks=0')
    if model.backbone.views_attend:
        raise ValueError("a released checkpoint has no attention between views; this model has combine='multi_view'")
    released = {'logit_scale': model.backbone.logit_scale.detach().clone()}
    for key, value in model.backbone.clip.state_dict().items():
        released[f'clip_model.{key}'] = value
    for key, value in model.backbone.tuned_blocks.state_dict().items():
        released[CONTROL_BLOCKS + key] = value
    return released


def whole_state_dict(model: OpenDlign) -> StateDict:
    """Return ``model.state_dict()`` with the weights that it leaves out: of the frozen CLIP and of the whole copy."""
    state_dict = model.state_dict()
    for name in ('clip', 'tuned_blocks'):
        for key, value in getattr(model.backbone, name).state_dict().items():
            state_dict[f'backbone.{name}.{key}'] = value
    return state_dict


def load_whole(model: OpenDlign, state_dict: StateDict) -> list[str]:
    """Load a state dict that holds every entry of an ``OpenDlign`` model's backbone.

    Args:
        model: Model to load into.
        state_dict: Entries ``backbone.clip.*`` and ``backbone.tuned_blocks.*``.

    Returns:
        The names of the entries that the model does not have.

    Raises:
        ValueError: Entries are missing or have another shape; the message names them all.
    """
    expected = {key: value.shape for key, value in whole_state_dict(model).items()
                if key.startswith(('backbone.clip.', 'backbone.tuned_blocks.'))}
    missing = [f'{key} is missing' for key in expected if key not in state_dict]
    misshapen = [f'{key} has shape {tuple(state_dict[key].shape)} instead of {tuple(shape)}'
                 for key, shape in expected.items() if key in state_dict and state_dict[key].shape != shape]
    if missing or misshapen:
        raise ValueError(f"the checkpoint does not fit CLIP '{model.backbone.clip_name}' with "
                         f'num_blocks={model.backbone.num_blocks}:\n  ' + '\n  '.join(missing + misshapen) +
                         '\ngive the config of the model that it was made for')
    model.load_state_dict({key: state_dict[key] for key in expected}, strict=False)
    return [key for key in state_dict if key not in expected]
