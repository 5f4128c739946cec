"""Base class of the datasets of single objects: their records, classes and labels."""
import logging
from collections.abc import Sequence
from pathlib import Path

from mmengine.dataset import BaseDataset
from mmengine.logging import print_log

from ..file_keys import readable_text
from ..source_files import required
from .unreadable import OnUnreadable, UnreadablePolicy


def spoken(name: str) -> str:
    """Return a class name as prompts say it: 'night_stand' and 'night stand' are one class."""
    return name.replace('_', ' ').strip()


class ShapeDataset(UnreadablePolicy, BaseDataset):
    """Base class of the datasets of single objects.

    A subclass lists its objects in :meth:`read_records`, with the names that the dataset itself has for their classes.
    Records hold ``sample_id`` (unique), ``category`` (as the dataset writes it), ``gt_label`` (index in
    ``metainfo['classes']``) and what a loading transform needs, such as :class:`LoadShapePoints`.

    Args:
        data_root: Folder of the dataset.
        ann_file: File that lists the objects, relative to ``data_root``; empty if folders do.
        metainfo: ``classes`` here, a sequence or a text file with one name a line, replaces the dataset's own: labels
            follow it, and objects of other classes are skipped. Spaces and underscores in names are the same.
        data_prefix: Folders relative to ``data_root``.
        pipeline: Transforms, as in any mmengine dataset.
        on_unreadable: 'error', or 'skip' samples whose files are missing or cannot be read; see
            :mod:`opendlign_mm.datasets.unreadable`. A training skips listed objects without a file, and takes another
            object in the place of one whose file cannot be read; more than one in a hundred of the latter is an
            error.
        kwargs: Further arguments of mmengine's ``BaseDataset``: indices, test_mode, lazy_init, serialize_data, ...

    Raises:
        FileNotFoundError: A file or folder is missing, also with ``lazy_init``; the message says how to get it.
        ValueError: There are no objects, or some of a class that the dataset does not name.
    """

    # Name of the benchmark in tables of results, kept in ``metainfo``.
    benchmark: str | None = None
    remedy = 'Point to the dataset with --cfg-options data_root=DIR.'
    # More than one in a hundred is not an accident of single files.
    most_unreadable = .01

    def __init__(self,
                 data_root: str,
                 ann_file: str = '',
                 metainfo: dict | None = None,
                 data_prefix: dict | None = None,
                 pipeline: Sequence = (),
                 on_unreadable: OnUnreadable = 'error',
                 **kwargs) -> None:
        self.check_files(data_root=data_root, ann_file=ann_file, **(data_prefix or {}))
        super().__init__(ann_file=ann_file, metainfo=metainfo, data_root=str(data_root),
                         data_prefix=dict(data_prefix or dict(pts='')), pipeline=list(pipeline),
                         on_unreadable=on_unreadable, **kwargs)

    def check_files(self, data_root: str, ann_file: str = '', **folders: str) -> None:
        """Check that the files and folders exist without which there is no dataset.

        Raises:
            FileNotFoundError: One is missing; the message says how to get it.
        """
        root = required(data_root, self.remedy)
        for part in (ann_file, *folders.values()):
            required(root / part, self.remedy)

    def read_records(self) -> tuple[Sequence[str] | None, list[dict]]:
        """Return the names of the classes in the order of their labels, and the records without ``gt_label``.

        The names are None if the objects have no class.
        """
        raise NotImplementedError

    def with_file(self, records: list[dict]) -> list[dict]:
        """Return the records of a list whose ``points_path`` exists.

        With ``on_unreadable='skip'`` a training gets those that exist, with a line in the log; a test gets all, so that
        the missing ones are counted as unreadable.

        Raises:
            FileNotFoundError: Files are missing and not to be skipped, or all are; the message counts them.
        """
        existing = [record for record in records if Path(record['points_path']).is_file()]
        if len(existing) == len(records):
            return records
        missing = f'{len(records) - len(existing)} of {len(records)} objects have no file below {self.data_root}'
        if self.on_unreadable == 'skip' and existing:
            print_log(f'{type(self).__name__}: {missing} and are skipped', 'current', logging.WARNING)
            return records if self.test_mode else existing
        first = next(record['points_path'] for record in records if not Path(record['points_path']).is_file())
        raise FileNotFoundError(
            f"{missing}, the first is {first}. {self.remedy} on_unreadable='skip' takes the others.")

    def load_data_list(self) -> list[dict]:
        """Return one record per object."""
        names, records = self.read_records()
        for record in records:
            if 'category' in record:
                record['category'] = readable_text(record['category'])
        if self.benchmark:
            self._metainfo.setdefault('benchmark', self.benchmark)
        if not records:
            raise ValueError(f'{self.data_root} has no objects for {type(self).__name__}. {self.remedy}')
        if names is None:
            return records
        chosen = 'classes' in self._metainfo
        classes = tuple(self._metainfo['classes']) if chosen else tuple(map(readable_text, names))
        self._metainfo['classes'] = classes
        labels = {**{spoken(name): label for label, name in enumerate(classes)},
                  **{name: label for label, name in enumerate(classes)}}
        if len(set(classes)) < len(classes):
            repeated = sorted({name for name in classes if classes.count(name) > 1})
            raise ValueError(f'{self.data_root}: the classes name {", ".join(repeated[:5])} more than once')
        kept = []
        for record in records:
            label = labels.get(record['category'], labels.get(spoken(record['category'])))
            if label is not None:
                kept.append(dict(record, gt_label=label))
        if chosen and len(kept) < len(records):
            print_log(f'{type(self).__name__}: {len(records) - len(kept)} of {len(records)} objects belong to none of '
                      f'the {len(classes)} classes given and are skipped', 'current')
        elif len(kept) < len(records):
            unknown = sorted({record['category'] for record in records} - set(labels))
            raise ValueError(f'{self.data_root}: objects of the classes {", ".join(unknown[:5])}, but the dataset '
                             f'names only {len(classes)} others')
        if not kept:
            raise ValueError(f'{self.data_root}: no object belongs to one of the classes {", ".join(classes[:8])}')
        return kept
