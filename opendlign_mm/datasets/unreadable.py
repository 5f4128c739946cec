"""The one policy for samples that cannot be used: missing, truncated or empty files, and values that are not finite.

Loading decides whether a sample can be used. A dataset says with ``on_unreadable`` what happens where it cannot:

- ``'error'``: the error ends the run and names the file.
- ``'skip'``: a training takes another sample in its place; a test or validation with :class:`ReportingTestLoop` or
  :class:`ReportingValLoop` goes on without it, reports the count next to the metrics and lists the samples at the end.
  The annotated objects of a skipped scene count as missed.
"""
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
from mmengine.dataset import pseudo_collate
from mmengine.logging import print_log
from mmengine.registry import FUNCTIONS
from torch.utils.data import Dataset

from ..file_keys import readable_text
from ..source_files import is_error_of_machine

OnUnreadable = Literal['error', 'skip']
# What readers raise for a sample that cannot be used; all other errors are mistakes in code or config.
READING_ERRORS = (OSError, ValueError, EOFError)


class Unreadable(NamedTuple):
    """Record of a sample that cannot be used.

    Attributes:
        sample_id: The sample's ``sample_id``; the path of the points of a scene.
        reason: Why it cannot be used.
        annotations: mmdet3d's ``eval_ann_info`` of a scene in a test: ground truth that nothing was detected of.
    """
    sample_id: str
    reason: str
    annotations: dict | None = None

    def __str__(self) -> str:
        """Return the reason, which most readers begin with the path, or else the sample and the reason."""
        return self.reason if Path(self.sample_id).name in self.reason else f'{self.sample_id}: {self.reason}'


def check_on_unreadable(value: str) -> None:
    """Raise ``ValueError`` unless ``value`` is one of :data:`OnUnreadable`."""
    if value not in get_args(OnUnreadable):
        raise ValueError(f'on_unreadable must be one of {get_args(OnUnreadable)}, got {value!r}')


class ReplacedSamples:
    """Unreadable samples of a training that this process has met.

    Args:
        limit: The share of all samples above which they are an error; None: all but one may be unreadable.
    """

    def __init__(self, limit: float | None) -> None:
        self.limit = limit
        self._seen: set[Any] = set()

    def add(self, sample: Any, record: Unreadable, total: int) -> None:
        """Log a sample, once, and check that there are not too many of ``total``.

        Raises:
            ValueError: There are too many.
        """
        if sample not in self._seen:
            self._seen.add(sample)
            print_log(f'skipping an unreadable sample ({len(self._seen)} so far in this process): {record}', 'current',
                      logging.WARNING)
        most = total - 1 if self.limit is None else max(self.limit * total, 1)
        if len(self._seen) > most:
            raise ValueError(f'{len(self._seen)} of {total} samples cannot be read; the last: {record}')


class UnreadablePolicy:
    """Base class, in front of mmengine's ``BaseDataset`` or a subclass, that adds the option ``on_unreadable``.

    In training (``test_mode=False``) with ``'skip'`` an unreadable sample is replaced by another one. Which one depends
    on the index of the sample alone, so that a resumed training sees the same samples. In test mode an unreadable
    sample is always an error, which :class:`UnreadableRecords` turns into a record.

    Args:
        on_unreadable: What happens with samples that cannot be used; see the module.
        args, kwargs: Arguments of the dataset.

    Raises:
        ValueError: ``on_unreadable`` has another value.
    """

    # The share of unreadable samples above which skipping is refused in training; None: there is no limit.
    most_unreadable: float | None = None

    def __init__(self, *args, on_unreadable: OnUnreadable = 'error', **kwargs) -> None:
        check_on_unreadable(on_unreadable)
        self.on_unreadable: OnUnreadable = on_unreadable
        self._replaced = ReplacedSamples(self.most_unreadable)
        super().__init__(*args, **kwargs)

    def prepare_data(self, idx: int) -> Any:
        """Pass the sample ``idx`` through the pipeline, or in training its replacement.

        Raises:
            OSError, ValueError, EOFError: The sample cannot be used, and is not to be replaced; or too many cannot.
        """
        index, attempt = idx, 0
        while True:
            try:
                return super().prepare_data(index)
            except READING_ERRORS as error:
                if is_error_of_machine(error):
                    raise
                record = record_of(self, index, error)
                if self.test_mode or self.on_unreadable == 'error':
                    if str(record) == readable_text(str(error)):
                        raise
                    raise ValueError(str(record)) from error
            self._replaced.add(index, record, len(self))
            index = int(np.random.default_rng((idx, attempt)).integers(len(self)))
            attempt += 1


class UnreadableRecords(Dataset):
    """Another dataset, whose samples that cannot be used are given as :class:`Unreadable` instead of an error."""

    def __init__(self, dataset: Dataset) -> None:
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)

    def __getattr__(self, name: str) -> Any:
        # 'dataset' is not there yet while a worker unpickles this; '__getitems__' would bypass what this class does.
        if name == 'dataset' or name.startswith('__'):
            raise AttributeError(name)
        return getattr(self.dataset, name)

    def __getitem__(self, index: int) -> Any:
        try:
            return self.dataset[index]
        except READING_ERRORS as error:
            if is_error_of_machine(error):
                raise
            return record_of(self.dataset, index, error)


def record_of(dataset: Dataset, index: int, error: Exception) -> Unreadable:
    """Return the record of a sample whose loading failed with ``error``."""
    try:
        info = dataset.get_data_info(index)
    except (AttributeError, KeyError, TypeError, *READING_ERRORS):
        info = {}
    name = info.get('sample_id') or info.get('lidar_path') or f'sample {index}'
    reason = str(error) or type(error).__name__
    return Unreadable(readable_text(str(name)), readable_text(reason), info.get('eval_ann_info'))


def policy_of(dataset: Any) -> OnUnreadable:
    """Return ``on_unreadable`` of a dataset, also inside wrappers such as mmengine's ``RepeatDataset``.

    It is ``'error'`` where a dataset does not have the option, or some of several in one wrapper do not skip.
    """
    own = getattr(dataset, 'on_unreadable', None)
    if own is not None:
        return own
    inner = getattr(dataset, 'datasets', None) or [getattr(dataset, 'dataset', None)]
    return 'skip' if all(part is not None and policy_of(part) == 'skip' for part in inner) else 'error'


@FUNCTIONS.register_module()
def collate_readable(samples: Sequence[Any], collate: Callable = pseudo_collate) -> dict[str, Any]:
    """Collate the samples that can be read.

    Args:
        samples: Samples or :class:`Unreadable`.
        collate: Function that collates the former.

    Returns:
        dict: ``batch``, the collated samples, None without any; ``unreadable``, place in the batch -> record; ``size``,
        the number of all.
    """
    readable = [sample for sample in samples if not isinstance(sample, Unreadable)]
    return dict(batch=collate(readable) if readable else None, size=len(samples),
                unreadable={place: sample for place, sample in enumerate(samples) if isinstance(sample, Unreadable)})
