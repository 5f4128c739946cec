"""Autocast on any device, and the learning rate of large batches."""
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from mmdet3d.registry import OPTIM_WRAPPERS
from mmengine.config import Config
from mmengine.optim import OptimWrapper
from mmengine.runner import Runner
from torch import nn


@OPTIM_WRAPPERS.register_module()
class AutocastOptimWrapper(OptimWrapper):
    """Optimizer wrapper that runs the forward pass under bfloat16 autocast, on any device.

    mmengine's ``AmpOptimWrapper`` refuses to run without a GPU. bfloat16 has the range of float32, so no loss scaling
    is needed, and backward pass, clipping and checkpoints are those of ``OptimWrapper``. float16 needs loss scaling:
    use mmengine's ``AmpOptimWrapper`` for it.

    Args:
        dtype: Type to compute in, 'bfloat16' or ``torch.bfloat16``.
        kwargs: Arguments of ``mmengine.optim.OptimWrapper``: optimizer, accumulative_counts, clip_grad.

    Raises:
        ValueError: ``dtype`` is another type.
    """

    def __init__(self, dtype: str | torch.dtype = 'bfloat16', **kwargs) -> None:
        if dtype not in ('bfloat16', torch.bfloat16):
            raise ValueError(f"AutocastOptimWrapper knows dtype 'bfloat16' only, got {dtype!r}; "
                             'float16 needs loss scaling: use AmpOptimWrapper (CUDA)')
        super().__init__(**kwargs)

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        """Autocast the forward pass of ``model``, in addition to the context of the base class."""
        device_type = next(model.parameters()).device.type
        with super().optim_context(model), torch.autocast(device_type, dtype=torch.bfloat16):
            yield


def select_autocast(cfg: Config) -> None:
    """Change a config to train under autocast: ``--amp``.

    ``OptimWrapper`` becomes ``AutocastOptimWrapper`` (bfloat16), or on a GPU without bfloat16 mmengine's
    ``AmpOptimWrapper`` (float16 with loss scaling).

    Raises:
        ValueError: The config's optimizer wrapper is neither ``OptimWrapper`` nor one that autocasts already.
    """
    kind = cfg.optim_wrapper.get('type', 'OptimWrapper')
    if kind in ('AutocastOptimWrapper', 'AmpOptimWrapper'):
        return
    if kind != 'OptimWrapper':
        raise ValueError(f"--amp replaces optim_wrapper.type='OptimWrapper', but the config has {kind!r}")
    # PyTorch emulates bfloat16 on GPUs such as Turing, slower than float32.
    if torch.cuda.is_available() and not torch.cuda.is_bf16_supported(including_emulation=False):
        cfg.optim_wrapper.update(type='AmpOptimWrapper', loss_scale='dynamic')
    else:
        cfg.optim_wrapper.type = 'AutocastOptimWrapper'


def scale_peak_learning_rate(runner: Runner) -> None:
    """Scale the peak of a one-cycle schedule with the batch size if ``auto_scale_lr`` is enabled.

    mmengine scales the learning rate of the optimizer, which OneCycle replaces by its own peak ``eta_max``. Call this
    after the Runner is built and before it trains.
    """
    scaling = runner.auto_scale_lr or {}
    if not scaling.get('enable', False):
        return
    ratio = runner.world_size * runner._train_dataloader['batch_size'] / scaling['base_batch_size']
    schedulers = runner.param_schedulers if isinstance(runner.param_schedulers, list) else [runner.param_schedulers]
    for scheduler in schedulers:
        if isinstance(scheduler, dict) and scheduler.get('type') == 'OneCycleLR':
            scheduler['eta_max'] = scheduler['eta_max'] * ratio
