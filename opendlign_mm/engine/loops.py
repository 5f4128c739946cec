"""Test and validation loops that skip unreadable samples, and a training loop over a stream."""
from collections.abc import Sequence
from typing import Any

from mmdet3d.registry import DATASETS, LOOPS
from mmengine.dataset import pseudo_collate
from mmengine.dist import all_gather_object, get_world_size
from mmengine.registry import FUNCTIONS
from mmengine.runner import EpochBasedTrainLoop, TestLoop, ValLoop
from torch.utils.data import DataLoader

from ..datasets.generated import DepthAlignDataset
from ..datasets.readable import ReadableObjects, Unreadable
from .hooks import runner_model

MOST_NAMED = 20


def _collate(samples: Sequence[Any]) -> dict[str, Any]:
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

    def __init__(self, runner, dataloader: DataLoader | dict, **kwargs) -> None:
        if isinstance(dataloader, dict) and 'collate_fn' not in dataloader:
            dataset = dataloader['dataset']
            dataset = DATASETS.build(dataset) if isinstance(dataset, dict) else dataset
            dataloader = dict(dataloader, dataset=ReadableObjects(dataset), collate_fn=dict(type='collate_readable'))
        super().__init__(runner, dataloader, **kwargs)
        self.problems: list[str] = []

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

    def run_iter(self, idx: int, data_batch: dict[str, Any]) -> None:
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
_LAYOUT = 'streaming_layout'


@LOOPS.register_module()
class StreamingTrainLoop(EpochBasedTrainLoop):
    """mmengine's epoch loop for :class:`DepthAlignDataset`.

    mmengine starts an epoch again from its first batch when it resumes from a checkpoint written within it. This loop
    goes on with the next batch, and reads no shard for the ones before. Write such checkpoints with
    ``default_hooks.checkpoint=dict(by_epoch=False, interval=...)``.

    Raises:
        ValueError: The dataset is another one, ``persistent_workers`` is set (workers would not learn of the new
            epoch), or an epoch is gone on with in other batches than it was begun.
        RuntimeError: The dataset gives features of another CLIP than the model's.
    """

    def __init__(self, runner, dataloader, max_epochs: int, **kwargs) -> None:
        super().__init__(runner, dataloader, max_epochs, **kwargs)
        loader, dataset = self.dataloader, self.dataloader.dataset
        if not isinstance(dataset, DepthAlignDataset):
            raise ValueError(f'StreamingTrainLoop streams a DepthAlignDataset, not a {type(dataset).__name__}; '
                             'EpochBasedTrainLoop is for others')
        if loader.num_workers and loader.persistent_workers:
            raise ValueError('set train_dataloader.persistent_workers=False: persistent workers would repeat an epoch')
        dataset.set_batches(loader.batch_size, loader.drop_last)
        if not len(loader):
            raise ValueError(f'{dataset.store.root} has fewer objects than a batch '
                             f'({loader.batch_size}) and drop_last is set')

    def run(self):
        """Train."""
        dataset, loader = self.dataloader.dataset, self.dataloader
        self._check_features(dataset)
        if dataset.seed is None:
            dataset.seed = self.runner.seed
        layout = dict(processes=get_world_size(), num_workers=loader.num_workers, batch_size=loader.batch_size,
                      drop_last=loader.drop_last, buffer_size=dataset.buffer_size, seed=dataset.seed,
                      objects=sum(map(len, dataset.entries)))
        hub = self.runner.message_hub
        before = hub.get_info(_LAYOUT, layout)
        if before != layout and self._iter % len(loader):
            changed = ', '.join(f'{key} {before.get(key)} -> {value}' for key, value in layout.items()
                                if before.get(key) != value)
            raise ValueError(f'the checkpoint is from within an epoch that was begun with other batches ({changed}). '
                             'Resume with the same numbers, or from the end of an epoch.')
        hub.update_info(_LAYOUT, layout)
        return super().run()

    def run_epoch(self) -> None:
        """Iterate what is left of an epoch."""
        done = self._iter - self._epoch * len(self.dataloader)
        self.dataloader.dataset.resume_at(self._epoch, done)
        self.runner.call_hook('before_train_epoch')
        self.runner.model.train()
        for index, data_batch in enumerate(self.dataloader, done):
            self.run_iter(index, data_batch)
        self.runner.call_hook('after_train_epoch')
        self._epoch += 1

    def _check_features(self, dataset: DepthAlignDataset) -> None:
        made_by = dataset.metainfo.get('image_features_clip')
        model = runner_model(self.runner)
        if made_by is not None and made_by != model.backbone.pretrained_branch_identity():
            raise RuntimeError(f'the image features in {dataset.features.root} are of {made_by}, the model is '
                               f'{model.backbone.pretrained_branch_identity()}; run tools/encode_images.py with its '
                               'config')
