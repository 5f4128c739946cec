"""bfloat16 autocast for training on CPU and CUDA."""
from contextlib import contextmanager
from typing import Iterator, Union

import torch
from mmdet3d.registry import OPTIM_WRAPPERS
from mmengine.optim import OptimWrapper
from torch import nn


@OPTIM_WRAPPERS.register_module()
class AutocastOptimWrapper(OptimWrapper):
    """Run the forward pass under bfloat16 autocast, on whatever device the model is.

    mmengine's ``AmpOptimWrapper`` refuses to run without a GPU. bfloat16 has the range of float32, so that no loss
    scaling is needed and the backward pass, clipping and checkpoints stay those of ``OptimWrapper``. For float16, which
    needs loss scaling, use mmengine's ``AmpOptimWrapper``.

    Args:
        dtype: 'bfloat16' or ``torch.bfloat16``.
        kwargs: Arguments of ``mmengine.optim.OptimWrapper``: optimizer, accumulative_counts, clip_grad.

    Raises:
        ValueError: ``dtype`` is another one.
    """

    def __init__(self, dtype: Union[str, torch.dtype] = 'bfloat16', **kwargs) -> None:
        if dtype not in ('bfloat16', torch.bfloat16):
            raise ValueError(f"AutocastOptimWrapper knows dtype 'bfloat16' only, got {dtype!r}; "
                             'float16 needs loss scaling: use AmpOptimWrapper (CUDA)')
        super().__init__(**kwargs)

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        """Autocast the forward pass of ``model``, beside the gradient synchronisation of the base class."""
        device_type = next(model.parameters()).device.type
        with super().optim_context(model), torch.autocast(device_type, dtype=torch.bfloat16):
            yield
