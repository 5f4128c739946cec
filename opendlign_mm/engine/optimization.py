"""Autocast on any device, the momentum of a one-cycle schedule, and the learning rate of large batches."""
import math
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from mmdet3d.registry import OPTIM_WRAPPERS
from mmengine.config import Config
from mmengine.optim import OPTIMIZERS, DefaultOptimWrapperConstructor, OptimWrapper
from mmengine.optim.scheduler.momentum_scheduler import MomentumSchedulerMixin
from mmengine.optim.scheduler.param_scheduler import INF, _ParamScheduler
from mmengine.registry import OPTIM_WRAPPER_CONSTRUCTORS, PARAM_SCHEDULERS
from mmengine.runner import Runner
from timm.optim import Lamb
from torch import nn

if 'Lamb' not in OPTIMIZERS:  # CLIP2Point's optimizer
    OPTIMIZERS.register_module(name='Lamb', module=Lamb)


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


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class NoDecayConstructor(DefaultOptimWrapperConstructor):
    """Optimizer constructor with two groups of parameters: one of them without weight decay.

    mmengine's own makes a group of every parameter, frozen ones included, and warns of each of these.

    Args:
        optim_wrapper_cfg: Config of the optimizer wrapper.
        paramwise_cfg: ``without_decay``: names of the parameters without decay, of which the model may lack some.
    """

    def add_params(self, params: list[dict], module: nn.Module, **_) -> None:
        """Add the two groups to ``params``; the second only if the model has one of its parameters."""
        names = set(self.paramwise_cfg['without_decay'])
        parameters = list(module.named_parameters())
        params.append(dict(params=[parameter for name, parameter in parameters if name not in names]))
        without = [parameter for name, parameter in parameters if name in names]
        if without:
            params.append(dict(params=without, weight_decay=0.))


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


class _OneCycleValue(_ParamScheduler):
    """Scheduler that takes a value of each parameter group down along a cosine, and up again."""

    def __init__(self, optimizer: torch.optim.Optimizer | OptimWrapper, param_name: str, base_momentum: float = 0.85,
                 max_momentum: float = 0.95, pct_start: float = 0.3, begin: int = 0, end: int = INF,
                 last_step: int = -1, by_epoch: bool = True, verbose: bool = False) -> None:
        if not 0 <= base_momentum <= max_momentum < 1:
            raise ValueError('base_momentum and max_momentum must be numbers with 0 <= base_momentum <= max_momentum '
                             f'< 1, got {base_momentum} and {max_momentum}')
        if not 0 < pct_start < 1:
            raise ValueError(f'pct_start must lie between 0 and 1, got {pct_start}')
        self.base_momentum, self.max_momentum, self.pct_start = base_momentum, max_momentum, pct_start
        super().__init__(optimizer, param_name, begin, end, last_step, by_epoch, verbose)

    @classmethod
    def build_iter_from_epoch(cls, *args, begin: int = 0, end: int = INF, by_epoch: bool = True,
                              epoch_length: int | None = None, **kwargs) -> '_OneCycleValue':
        """Build the scheduler by iterations from arguments in epochs of ``epoch_length`` iterations."""
        if not by_epoch or not epoch_length:
            raise ValueError('only epochs of a known length can be converted to iterations')
        return cls(*args, begin=int(begin * epoch_length), end=INF if end == INF else int(end * epoch_length),
                   by_epoch=False, **kwargs)

    def _get_value(self) -> list[float]:
        total = self.end - self.begin
        turn = self.pct_start * total - 1  # the step of the lowest value, as in PyTorch
        if self.last_step <= turn:
            start, stop, share = self.max_momentum, self.base_momentum, self.last_step / turn if turn > 0 else 1.
        else:
            start, stop = self.base_momentum, self.max_momentum
            share = min((self.last_step - turn) / (total - 1 - turn), 1.)
        value = stop + (start - stop) / 2 * (1 + math.cos(math.pi * share))
        return [value] * len(self.optimizer.param_groups)


@PARAM_SCHEDULERS.register_module()
class OneCycleMomentum(MomentumSchedulerMixin, _OneCycleValue):
    """Momentum, or beta1 of Adam, of a one-cycle schedule: high while the learning rate is low, and the reverse.

    PyTorch's ``OneCycleLR``, with which the authors trained, moves both; mmengine's moves the learning rate alone. Put
    this next to it, with the same ``begin``, ``end`` and ``pct_start``.

    Args:
        optimizer: Optimizer or its wrapper.
        base_momentum: Lowest value, at the peak of the learning rate.
        max_momentum: Value at the start and at the end.
        pct_start: Share of the steps until the peak, in (0, 1).
        begin: First step.
        end: Step after the last one.
        last_step: Index of the last step, for resuming without a state.
        by_epoch: Whether steps are epochs; ``convert_to_iter_based=True`` in a config makes them iterations.
        verbose: Whether each value is printed.

    Raises:
        ValueError: A number is outside its range, or the optimizer has neither momentum nor betas.
    """
