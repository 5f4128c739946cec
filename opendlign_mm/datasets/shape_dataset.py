"""What all data sets of single objects have in common."""
from typing import List, Optional, Sequence, Tuple

from mmengine.dataset import BaseDataset
from mmengine.logging import print_log

from .source_files import required


def spoken(name: str) -> str:
    """A class name as prompts say it: 'night_stand' and 'night stand' are one class."""
    return name.replace('_', ' ').strip()


class ShapeDataset(BaseDataset):
    """Base of the data sets of single objects.

    A subclass says in :meth:`read_records` which objects there are and what the data set itself calls their classes.
    Records hold ``sample_id`` (unique), ``category`` (as the data set writes it), ``gt_label`` (index in
    ``metainfo['classes']``) and what a loading transform needs, such as :class:`LoadShapePoints`.

    Args:
        data_root: Folder of the data set.
        ann_file: File that lists the objects, relative to ``data_root``; empty where folders do.
        metainfo: ``classes`` here, a sequence or a text file with one name a line, replaces the data set's own: labels
            follow it, and objects of other classes are left out. Spaces and underscores in names are the same.
        data_prefix: Folders relative to ``data_root``.
        pipeline: Transforms, as in any mmengine data set.
        kwargs: Further arguments of mmengine's ``BaseDataset``: indices, test_mode, lazy_init, serialize_data, ...

    Raises:
        FileNotFoundError: A file or folder is missing, also with ``lazy_init``; the message says how to get it.
        ValueError: There is no object, or one of a class that the data set does not name.
    """

    # The benchmark's name in tables of results, kept in ``metainfo``.
    benchmark: Optional[str] = None
    remedy = 'Point to the data set with --cfg-options data_root=DIR.'

    def __init__(self,
                 data_root: str,
                 ann_file: str = '',
                 metainfo: Optional[dict] = None,
                 data_prefix: Optional[dict] = None,
                 pipeline: Sequence = (),
                 **kwargs) -> None:
        self.check_files(data_root=data_root, ann_file=ann_file, **(data_prefix or {}))
        super().__init__(ann_file=ann_file, metainfo=metainfo, data_root=str(data_root),
                         data_prefix=dict(data_prefix or dict(pts='')), pipeline=list(pipeline), **kwargs)

    def check_files(self, data_root: str, ann_file: str = '', **folders: str) -> None:
        """Raise ``FileNotFoundError`` if a file or folder is missing without which there is no data set."""
        root = required(data_root, self.remedy)
        for part in (ann_file, *folders.values()):
            required(root / part, self.remedy)

    def read_records(self) -> Tuple[Optional[Sequence[str]], List[dict]]:
        """Names of the classes in the order of their labels, and the records without ``gt_label``.

        No names stand for objects without a class.
        """
        raise NotImplementedError

    def load_data_list(self) -> List[dict]:
        """One record an object."""
        names, records = self.read_records()
        if self.benchmark:
            self._metainfo.setdefault('benchmark', self.benchmark)
        if not records:
            raise ValueError(f'{self.data_root} has no objects for {type(self).__name__}. {self.remedy}')
        if names is None:
            return records
        chosen = 'classes' in self._metainfo
        classes = tuple(self._metainfo['classes']) if chosen else tuple(names)
        self._metainfo['classes'] = classes
        labels = {**{spoken(name): label for label, name in enumerate(classes)},
                  **{name: label for label, name in enumerate(classes)}}
        if len(set(classes)) < len(classes):
            raise ValueError(f'{self.data_root}: the classes name one twice: {", ".join(classes)}')
        kept = []
        for record in records:
            label = labels.get(record['category'], labels.get(spoken(record['category'])))
            if label is not None:
                kept.append(dict(record, gt_label=label))
        if chosen and len(kept) < len(records):
            print_log(f'{type(self).__name__}: {len(records) - len(kept)} of {len(records)} objects belong to none of '
                      f'the {len(classes)} classes given and are left out', 'current')
        elif len(kept) < len(records):
            unknown = sorted({record['category'] for record in records} - set(labels))
            raise ValueError(f'{self.data_root}: objects of the classes {", ".join(unknown[:5])}, but the data set '
                             f'names only {len(classes)} others')
        if not kept:
            raise ValueError(f'{self.data_root}: no object belongs to one of the classes {", ".join(classes[:8])}')
        return kept
