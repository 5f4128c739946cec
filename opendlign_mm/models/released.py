"""Checkpoints in the layout of the authors' release."""
from typing import Dict

import torch

CONTROL_BLOCKS = 'clip_model.visual.transformer.depth_control_visual.resblocks.'


def convert_released_state_dict(state_dict: Dict[str, torch.Tensor]) -> Dict[str, torch.Tensor]:
    """Rename the keys of a released OpenDlign checkpoint to those of :class:`OpenDlign`.

    The release keeps a whole open_clip model under ``clip_model`` with the trainable copy inside its image
    transformer. Its second ``logit_scale`` at the top is a frozen duplicate of CLIP's and is left out.

    Args:
        state_dict: The released state dict, with or without the ``module.`` of data-parallel training.

    Raises:
        ValueError: it is not a released OpenDlign checkpoint.
    """
    state_dict = {key.removeprefix('module.'): value for key, value in state_dict.items()}
    if not any(key.startswith(CONTROL_BLOCKS) for key in state_dict):
        raise ValueError(f"no key starts with '{CONTROL_BLOCKS}': this is not a released OpenDlign checkpoint")
    converted = {}
    for key, value in state_dict.items():
        if key.startswith(CONTROL_BLOCKS):
            converted['backbone.tuned_blocks.' + key.removeprefix(CONTROL_BLOCKS)] = value
        elif key.startswith('clip_model.'):
            converted['backbone.clip.' + key.removeprefix('clip_model.')] = value
        elif key != 'logit_scale':
            raise ValueError(f"unknown key '{key}' in a released OpenDlign checkpoint")
    return converted
