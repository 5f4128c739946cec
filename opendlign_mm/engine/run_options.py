"""Command line options of training that mmengine does not carry out for this project's configs."""
import torch
from mmengine.config import Config
from mmengine.runner import Runner


def select_autocast(cfg: Config) -> None:
    """Make ``cfg`` train under autocast: ``--amp``.

    ``OptimWrapper`` becomes ``AutocastOptimWrapper`` (bfloat16), on a GPU without bfloat16 mmengine's
    ``AmpOptimWrapper`` (float16 with loss scaling).

    Raises:
        ValueError: The config's optimizer wrapper is neither ``OptimWrapper`` nor one that autocasts already.
    """
    kind = cfg.optim_wrapper.get('type', 'OptimWrapper')
    if kind in ('AutocastOptimWrapper', 'AmpOptimWrapper'):
        return
    if kind != 'OptimWrapper':
        raise ValueError(f"--amp replaces optim_wrapper.type='OptimWrapper', but the config has {kind!r}")
    if torch.cuda.is_available() and not torch.cuda.is_bf16_supported():
        cfg.optim_wrapper.update(type='AmpOptimWrapper', loss_scale='dynamic')
    else:
        cfg.optim_wrapper.type = 'AutocastOptimWrapper'


def scale_peak_learning_rate(runner: Runner) -> None:
    """Scale the peak of a OneCycle schedule with the batch size, if ``auto_scale_lr`` is enabled.

    mmengine scales the optimizer's learning rate, which OneCycle replaces by its own peak ``eta_max``. Call it after
    the Runner is built and before it trains.
    """
    scaling = runner.auto_scale_lr or {}
    if not scaling.get('enable', False):
        return
    ratio = runner.world_size * runner._train_dataloader['batch_size'] / scaling['base_batch_size']
    schedulers = runner.param_schedulers if isinstance(runner.param_schedulers, list) else [runner.param_schedulers]
    for scheduler in schedulers:
        if isinstance(scheduler, dict) and scheduler.get('type') == 'OneCycleLR':
            scheduler['eta_max'] = scheduler['eta_max'] * ratio
