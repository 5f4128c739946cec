"""Tests and validations of thousands of files that a broken one does not end."""
from typing import Any, Dict, List, Sequence, Union

from mmdet3d.registry import DATASETS, LOOPS
from mmengine.dataset import pseudo_collate
from mmengine.dist import all_gather_object
from mmengine.registry import FUNCTIONS
from mmengine.runner import TestLoop, ValLoop
from torch.utils.data import DataLoader

from ..datasets.readable import ReadableObjects, Unreadable

MOST_NAMED = 20


def _collate(samples: Sequence[Any]) -> Dict[str, Any]:
    readable = [sample for sample in samples if not isinstance(sample, Unreadable)]
    return dict(batch=pseudo_collate(readable) if readable else None,
                problems=[sample.problem for sample in samples if isinstance(sample, Unreadable)])


class _SkipBroken:
    """What the loops below add to mmengine's.

    Args:
        runner: The Runner.
        dataloader: Config of the data loader, or the loader; a ready-made one and one with a ``collate_fn`` of its own
            behave as in mmengine's loop.
        kwargs: See mmengine's loop.

    Raises:
        ValueError: Not one object can be read; the message has the reason of the first.
    """

    def __init__(self, runner, dataloader: Union[DataLoader, dict], **kwargs) -> None:
        if isinstance(dataloader, dict) and 'collate_fn' not in dataloader:
            dataset = dataloader['dataset']
            dataset = DATASETS.build(dataset) if isinstance(dataset, dict) else dataset
            dataloader = dict(dataloader, dataset=ReadableObjects(dataset), collate_fn=dict(type='collate_readable'))
        super().__init__(runner, dataloader, **kwargs)
        self.problems: List[str] = []

    def run(self) -> dict:
        """Run over what can be read, then say what was left out."""
        self.problems.clear()
        metrics = super().run()
        problems = sum(all_gather_object(self.problems), [])
        if problems:
            more = [f'... and {len(problems) - MOST_NAMED} more'] * (len(problems) > MOST_NAMED)
            self.runner.logger.warning(
                f'{len(problems)} of {len(self.dataloader.dataset)} objects could not be read and are not in the '
                'results:\n  ' + '\n  '.join(problems[:MOST_NAMED] + more))
        return metrics

    def run_iter(self, idx: int, data_batch: Dict[str, Any]) -> None:
        """Run on what could be read of a batch."""
        if 'problems' in data_batch:
            self.problems += data_batch['problems']
            data_batch = data_batch['batch']
        if data_batch is not None:
            super().run_iter(idx, data_batch)
        elif idx + 1 == len(self.dataloader) and len(self.problems) >= len(self.dataloader.sampler):
            raise ValueError(f'not one of {len(self.problems)} objects can be read, the first: {self.problems[0]}')


@LOOPS.register_module()
class SkipBrokenTestLoop(_SkipBroken, TestLoop):
    """mmengine's ``TestLoop`` that leaves out objects whose files cannot be read and lists them at the end.

    The metrics are those of the others: compare ``num_samples`` before you compare accuracies. Arguments and errors:
    see :class:`_SkipBroken`.
    """


@LOOPS.register_module()
class SkipBrokenValLoop(_SkipBroken, ValLoop):
    """The same for mmengine's ``ValLoop``: hours of training do not end at a file of the validation set."""


FUNCTIONS.register_module(name='collate_readable', module=_collate)
