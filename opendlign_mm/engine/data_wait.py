"""Hook that says which share of the time of a training, a validation or a test is spent waiting for data."""
import time
from typing import Any

from mmdet3d.registry import HOOKS
from mmengine.hooks import Hook
from mmengine.runner import Runner

# Above this share faster reading gains more than a faster model.
LARGE_SHARE = .3
NAMES = dict(train='epoch', val='validation', test='test')
_FOR_TESTS = ('; more {}_dataloader.num_workers, a cache_dir, or points that are projected on the GPU '
              '(ProjectingDataPreprocessor) make it shorter')
REMEDIES = dict(
    train='; more train_dataloader.num_workers, DiskCache or stored tokens (token_dir) make it shorter',
    val=_FOR_TESTS.format('val'), test=_FOR_TESTS.format('test'))


@HOOKS.register_module()
class DataWaitHook(Hook):
    """Hook that logs after each epoch how long its steps waited for their batches, and what helps if that is long.

    So it does after each validation and test. mmengine's log has ``data_time`` and ``time`` of single steps; their
    ratio is the share of these. The first batch of an epoch counts, as starting the data workers does; a validation
    within an epoch does not.
    """

    priority = 'VERY_LOW'  # the time of all other hooks is not waiting

    def __init__(self) -> None:
        self._clocks: dict[str, _Clock] = {}

    def _before_epoch(self, runner: Runner, mode: str = 'train') -> None:
        """Start the clock."""
        self._clocks[mode] = _Clock(time.perf_counter())

    def _before_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None, mode: str = 'train') -> None:
        """Count the time since the last step ended."""
        self._clocks[mode].waited += time.perf_counter() - self._clocks[mode].ready

    def _after_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None,
                    mode: str = 'train') -> None:
        """Note the end of a step."""
        self._clocks[mode].ready = time.perf_counter()

    def _after_epoch(self, runner: Runner, mode: str = 'train') -> None:
        """Log the share."""
        clock = self._clocks.pop(mode)
        total = time.perf_counter() - clock.begin
        for other in self._clocks.values():
            other.begin, other.ready = other.begin + total, other.ready + total
        share = clock.waited / total if total else 0.
        name, remedy = NAMES[mode], REMEDIES[mode] if share > LARGE_SHARE else ''
        runner.logger.info(f'{clock.waited:.1f} of {total:.1f} s of this {name} ({share:.0%}) were spent waiting for '
                           f'data{remedy}')


class _Clock:
    """Times of an epoch in seconds: its begin, the end of its last step, and all that its steps waited."""

    def __init__(self, now: float) -> None:
        self.begin = self.ready = now
        self.waited = 0.
