"""Hook that says which share of a training's time is spent waiting for data."""
import time

from mmdet3d.registry import HOOKS
from mmengine.hooks import Hook
from mmengine.runner import Runner

# Above this share faster reading gains more than a faster model.
LARGE_SHARE = .3


@HOOKS.register_module()
class DataWaitHook(Hook):
    """Hook that logs after each epoch how long its steps waited for their batches, and what helps if that is long.

    mmengine's log has ``data_time`` and ``time`` of single steps; their ratio is the share of these. The first batch of
    an epoch counts, as starting the data workers does.
    """

    priority = 'VERY_LOW'  # the time of all other hooks is not waiting
    _begin = _ready = _waited = 0.

    def before_train_epoch(self, runner: Runner) -> None:
        """Start the clock."""
        self._begin = self._ready = time.perf_counter()
        self._waited = 0.

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: dict | None = None) -> None:
        """Count the time since the last step ended."""
        self._waited += time.perf_counter() - self._ready

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch: dict | None = None,
                         outputs: dict | None = None) -> None:
        """Note the end of a step."""
        self._ready = time.perf_counter()

    def after_train_epoch(self, runner: Runner) -> None:
        """Log the share."""
        total = time.perf_counter() - self._begin
        share = self._waited / total if total else 0.
        remedy = ('; more train_dataloader.num_workers, DiskCache or stored tokens (token_dir) make it shorter'
                  if share > LARGE_SHARE else '')
        runner.logger.info(f'{self._waited:.1f} of {total:.1f} s of this epoch ({share:.0%}) were spent waiting for '
                           f'data{remedy}')
