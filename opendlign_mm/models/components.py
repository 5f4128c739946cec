"""Parts that the models share: building from a config, and full precision inside autocast."""
from typing import Any

import torch
from mmdet3d.registry import MODELS
from torch import nn

Component = dict | nn.Module


def build_component(component: Component) -> Any:
    """Build a config by its registered name; return a module unchanged."""
    return component if isinstance(component, nn.Module) else MODELS.build(component)


def full_precision(tensor: torch.Tensor) -> torch.autocast:
    """Return a context manager that switches autocast off on the device of ``tensor``.

    A cosine rounded to bfloat16 has steps of 1/256; multiplied by a logit scale of 100, the rounding error swamps the
    loss.
    """
    return torch.autocast(device_type=tensor.device.type, enabled=False)
