"""Train a model for a measurement, unless an earlier call has already trained it."""
from pathlib import Path

from mmengine.runner import Runner

from ..config_options import read_config
from ..engine import work_dir_lock


def train_once(config: str | Path, work_dir: str | Path, cfg_options: dict | None = None) -> Path:
    """Train a config in ``work_dir``; a finished run is kept, an interrupted one resumes from its last epoch.

    Args:
        config: Path of the config.
        work_dir: Work directory, used by this run only.
        cfg_options: Changes to the config, e.g. ``{'randomness.seed': 1}``.

    Returns:
        Path of the checkpoint of the last epoch.
    """
    cfg = read_config(config, cfg_options)
    checkpoint = Path(work_dir) / f'epoch_{cfg.train_cfg.max_epochs}.pth'
    if not checkpoint.exists():
        cfg.work_dir, cfg.resume = str(work_dir), True
        with work_dir_lock(work_dir):
            Runner.from_cfg(cfg).train()
    return checkpoint
