"""Test and validation loops that report unreadable samples, and a training loop over a stream."""
from collections.abc import Sequence
from functools import partial
from itertools import chain
from typing import Any

import torch
from mmdet3d.registry import DATASETS, LOOPS
from mmengine.dataset import pseudo_collate
from mmengine.dist import all_gather_object, get_world_size
from mmengine.evaluator import Evaluator
from mmengine.registry import FUNCTIONS
from mmengine.runner import EpochBasedTrainLoop, TestLoop, ValLoop
from mmengine.structures import BaseDataElement
from torch.utils.data import DataLoader

from ..datasets.generated import DepthAlignDataset
from ..datasets.unreadable import Unreadable, UnreadableRecords, collate_readable, policy_of
from .hooks import check_image_features

MOST_NAMED = 20


class _Placeholder:
    """Result of an unreadable sample, which keeps the results of several processes in the order of the dataset."""


class ReportingEvaluator(Evaluator):
    """mmengine's ``Evaluator`` for datasets some of whose samples cannot be read.

    Metrics see the readable samples alone, and of an unreadable scene a sample without detections, whose annotated
    objects are missed. Each metric is followed by ``unreadable``, the number of unreadable samples. Of several
    processes each sample counts once, also one that ``DefaultSampler`` repeats to give all processes the same number.

    Args:
        metrics: Configs of the metrics.
        always_count: Report ``unreadable`` also where it is 0.

    Attributes:
        unreadable: Records of the samples of the whole dataset that could not be read, after :meth:`evaluate`.
    """

    def __init__(self, metrics, always_count: bool = True) -> None:
        super().__init__(metrics)
        self.always_count = always_count
        self.unreadable: list[Unreadable] = []
        self.at: dict[int, Unreadable] = {}

    def process(self, data_samples: Sequence, data_batch: Any = None) -> None:
        """Give a batch to the metrics.

        Args:
            data_samples: Results of the readable samples; ``unreadable`` in the meta information of one is the reason
                why the model could not use what belongs to it, such as a file of boxes.
            data_batch: The batch of the readable samples.
        """
        samples: list = list(data_samples)
        for place, record in sorted(self.at.items()):
            samples.insert(place, record)
        self.unreadable += self.at.values()
        for sample in samples:
            if isinstance(sample, BaseDataElement) and sample.get('unreadable'):
                name = sample.get('lidar_path') or sample.get('sample_id') or '?'
                self.unreadable.append(Unreadable(str(name), sample.get('unreadable')))
        samples = [_missed_scene(sample) if isinstance(sample, Unreadable) and sample.annotations is not None else
                   sample.to_dict() if isinstance(sample, BaseDataElement) else sample for sample in samples]
        readable = [sample for sample in samples if not isinstance(sample, Unreadable)]
        for metric in self.metrics:
            before = len(metric.results)
            if readable:
                metric.process(data_batch, readable)
            if len(readable) < len(samples):
                self._insert_placeholders(metric, before, samples)

    @staticmethod
    def _insert_placeholders(metric, before: int, samples: Sequence) -> None:
        new = len(metric.results) - before
        if new != sum(not isinstance(sample, Unreadable) for sample in samples):
            raise ValueError(f'{type(metric).__name__} does not keep one result for each sample, so that unreadable '
                             "samples cannot be skipped: set on_unreadable='error' in the dataset or remove the metric")
        for place, sample in enumerate(samples, before):
            if isinstance(sample, Unreadable):
                metric.results.insert(place, _Placeholder())

    def evaluate(self, size: int) -> dict:
        """Compute the metrics of a dataset of ``size`` samples.

        Raises:
            ValueError: No sample can be read; the message has the reason of the first.
        """
        records = [record._replace(annotations=None) for record in self.unreadable]
        self.unreadable = list(dict.fromkeys(chain.from_iterable(all_gather_object(records))))
        if len(self.unreadable) >= size:
            raise ValueError(f'none of the {size} samples can be read; the first: {self.unreadable[0]}')
        metrics = {}
        for metric in self.metrics:
            compute = metric.compute_metrics
            metric.compute_metrics = partial(_compute_readable, compute)
            try:
                values = metric.evaluate(size)
            finally:
                del metric.compute_metrics
            if self.unreadable or self.always_count:
                values[f'{metric.prefix}/unreadable' if metric.prefix else 'unreadable'] = len(self.unreadable)
            repeated = sorted((metrics.keys() & values.keys()) - {'unreadable'})
            if repeated:
                raise ValueError(f'two metrics report {", ".join(repeated)}: give one of them another prefix')
            metrics.update(values)
        return metrics


def _compute_readable(compute, results: Sequence) -> dict:
    return compute([result for result in results if not isinstance(result, _Placeholder)])


def _missed_scene(record: Unreadable) -> dict:
    """Return the result of a scene of which nothing is detected."""
    no_boxes = record.annotations['gt_bboxes_3d'][:0]
    return dict(
        lidar_path=record.sample_id, unreadable=record.reason, eval_ann_info=record.annotations,
        pred_instances_3d=dict(bboxes_3d=no_boxes, scores_3d=torch.zeros(0), labels_3d=torch.zeros(0).long()),
        proposals_3d=dict(bboxes_3d=no_boxes, objectness=torch.zeros(0), class_probabilities=torch.zeros(0, 0)))


class _Reporting:
    """What the loops below add to mmengine's.

    Samples are skipped where the dataset has ``on_unreadable='skip'``. A ready-made data loader or evaluator behaves as
    in mmengine's loop.

    Args:
        runner: The Runner.
        dataloader: Config of the data loader, or the loader.
        evaluator: Config of the metrics, or an evaluator.
        kwargs: Arguments of mmengine's loop.

    Raises:
        ValueError: No sample can be read; the message has the reason of the first.
    """

    def __init__(self, runner, dataloader: DataLoader | dict, evaluator: Evaluator | dict | list, **kwargs) -> None:
        if isinstance(dataloader, dict):
            dataset = dataloader['dataset']
            dataset = DATASETS.build(dataset) if isinstance(dataset, dict) else dataset
            dataloader = dict(dataloader, dataset=dataset)
            if isinstance(evaluator, (dict, list)):
                skip = policy_of(dataset) == 'skip'
                evaluator = ReportingEvaluator(evaluator, always_count=skip)
                if skip:
                    collate = _built_collate(dataloader.get('collate_fn'))
                    dataloader.update(dataset=UnreadableRecords(dataset),
                                      collate_fn=dict(type=collate_readable, collate=collate))
        super().__init__(runner, dataloader, evaluator, **kwargs)

    @property
    def unreadable(self) -> list[Unreadable]:
        """Records of the samples that the last run skipped, of all processes."""
        return getattr(self.evaluator, 'unreadable', [])

    def run(self) -> dict:
        """Run over what can be read, then list what was skipped."""
        self.unreadable.clear()
        metrics = super().run()
        if self.unreadable:
            more = [f'... and {len(self.unreadable) - MOST_NAMED} more'] * (len(self.unreadable) > MOST_NAMED)
            self.runner.logger.warning(
                f'{len(self.unreadable)} of {len(self.dataloader.dataset)} samples could not be read; single objects '
                'are not in the results, objects of scenes count as missed:\n  '
                + '\n  '.join([*map(str, self.unreadable[:MOST_NAMED]), *more]))
        return metrics

    def run_iter(self, idx: int, data_batch: dict[str, Any]) -> None:
        """Run on what could be read of a batch."""
        if 'unreadable' in data_batch:
            self.evaluator.at, data_batch = data_batch['unreadable'], data_batch['batch']
            if data_batch is None:
                self.evaluator.process([])
                return
        super().run_iter(idx, data_batch)


def _built_collate(config):
    """Return the collate function of a data loader's ``collate_fn``, as the Runner builds it."""
    if config is None:
        return pseudo_collate
    if not isinstance(config, dict):
        return config
    options = dict(config)
    kind = options.pop('type')
    return partial(FUNCTIONS.get(kind) if isinstance(kind, str) else kind, **options)


@LOOPS.register_module()
class ReportingTestLoop(_Reporting, TestLoop):
    """mmengine's ``TestLoop`` for datasets that may have ``on_unreadable='skip'``; see :class:`ReportingEvaluator`.

    Arguments and errors: see :class:`_Reporting`.
    """


@LOOPS.register_module()
class ReportingValLoop(_Reporting, ValLoop):
    """The same for mmengine's ``ValLoop``: hours of training do not end at a file of the validation set."""


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
        check_image_features(self.runner)
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
