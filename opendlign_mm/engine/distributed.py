"""Distributed runs of models in which nothing is trained."""
from typing import Any

from mmengine.model import MMDistributedDataParallel
from mmengine.registry import MODEL_WRAPPERS  # the Runner looks wrappers up there, not in mmdet3d's registry
from torch import nn


@MODEL_WRAPPERS.register_module()
class DistributedWhereTrained(MMDistributedDataParallel):
    """mmengine's DistributedDataParallel, or the model itself if nothing in it is trained.

    PyTorch refuses to wrap a model without gradients, but a test of it needs no wrapper.

    Args:
        module: Model of the Runner.
        kwargs: Arguments of ``mmengine.model.MMDistributedDataParallel``.
    """

    def __new__(cls, module: nn.Module, **kwargs: Any) -> nn.Module:
        """Return a wrapper of ``module``, or ``module``."""
        if any(parameter.requires_grad for parameter in module.parameters()):
            return super().__new__(cls)
        return module
