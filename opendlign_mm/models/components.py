"""Parts that the models share: building from a config, and full precision inside autocast."""

import torch
from mmdet3d.registry import MODELS
from torch import nn


def full_precision(tensor: torch.Tensor) -> torch.autocast:
    """Context manager that switches autocast off on the device of ``tensor``.

    A cosine rounded to bfloat16 has steps of 1/256; times a logit scale of 100 that is a loss of nonsense.
    """
    return torch.autocast(device_type=tensor.device.type, enabled=False)


Component = dict | nn.Module


def build_component(component: Component) -> nn.Module:
    """Return a module as it is, and build a config by its registered name."""
    return component if isinstance(component, nn.Module) else MODELS.build(component)
