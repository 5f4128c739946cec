"""Objaverse-LVIS and ModelNet40 as OpenShape publishes them: a JSON file of the objects, dicts of their points."""
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from mmdet3d.registry import DATASETS

from ..source_files import read_json, required
from .shape_dataset import ShapeDataset

_REMEDY = ('It is part of the data that OpenShape publishes (OpenShape/openshape-training-data on Hugging Face): '
           '{parts}. Unpack them into one folder and say where it is with --cfg-options data_root=DIR.')


class _OpenShapeSplit(ShapeDataset):
    """Objects of a JSON list whose entries have a ``category``."""

    def entries(self) -> tuple[list[str], list[dict]]:
        """Return the classes in alphabetical order, and the entries of the list."""
        entries = read_json(self.ann_file, self.remedy)
        if not isinstance(entries, list) or not all(isinstance(e, dict) and 'category' in e for e in entries):
            raise ValueError(f"{self.ann_file} must be a list of objects with a 'category'. {self.remedy}")
        return sorted({entry['category'] for entry in entries}), entries


@DATASETS.register_module()
class ObjaverseLVIS(_OpenShapeSplit):
    """46,832 objects of 1,156 categories: 10,000 points of each with colors, y up.

    The entries of the list have ``uid``, ``group``, ``category`` and ``data_path``, a path on the authors' machine.
    Files are searched at the longest end of that path that exists below ``data_root``.

    Args:
        data_root: Folder of ``meta_data`` and of the folders of points.
        ann_file: The list.
        kwargs: Further arguments of :class:`ShapeDataset`.
    """

    benchmark = 'Objaverse-LVIS'
    remedy = _REMEDY.format(parts='meta_data.zip and Objaverse/*.tar.gz')

    def __init__(self, data_root: str, ann_file: str = 'meta_data/split/lvis.json', **kwargs) -> None:
        super().__init__(data_root=data_root, ann_file=ann_file, **kwargs)

    def read_records(self) -> tuple[Sequence[str], list[dict]]:
        """Return one record per entry of the list."""
        names, entries = self.entries()
        root, cut = Path(self.data_root), self._published_part(entries)
        records = []
        for entry in entries:
            path = root.joinpath(*PurePosixPath(entry['data_path']).parts[cut:])
            records.append(dict(sample_id=f'objaverse_lvis/{entry.get("uid", path.stem)}', category=entry['category'],
                                points_path=str(path), up_axis='y'))
        return names, self.with_file(records)

    def _published_part(self, entries: Sequence[dict]) -> int:
        """Return how many leading parts of ``data_path`` belong to the authors' machine."""
        root = Path(self.data_root)
        for entry in entries:
            if 'data_path' not in entry:
                raise ValueError(f"{self.ann_file}: an object has no 'data_path'. {self.remedy}")
            parts = PurePosixPath(entry['data_path']).parts
            # From 1: a path from the root of the file system would leave data_root.
            cut = next((cut for cut in range(entry['data_path'].startswith('/'), len(parts))
                        if root.joinpath(*parts[cut:]).is_file()), None)
            if cut is not None:
                return cut
        raise FileNotFoundError(f'none of the {len(entries)} objects of {self.ann_file} has its file below {root} '
                                f'(the first is {entries[0]["data_path"] if entries else "none"}). {self.remedy}')


@DATASETS.register_module()
class OpenShapeModelNet40(_OpenShapeSplit):
    """ModelNet40's test objects: 10,000 points of each, y up, in one file in the order of the list.

    Args:
        data_root: Folder of ``meta_data``.
        ann_file: The list; its entries have ``name`` and ``category``.
        points_file: Array of dicts with ``xyz`` (N, 3) and ``rgb`` (N, 3). Every data worker reads the whole file,
            700 MB for the published one.
        kwargs: Further arguments of :class:`ShapeDataset`.
    """

    benchmark = 'ModelNet40'
    remedy = _REMEDY.format(parts='meta_data.zip')

    def __init__(self, data_root: str, ann_file: str = 'meta_data/modelnet40/test_split.json',
                 points_file: str = 'meta_data/modelnet40/test_pc.npy', **kwargs) -> None:
        self.points_file = points_file
        super().__init__(data_root=data_root, ann_file=ann_file, **kwargs)

    def check_files(self, data_root: str, **files: str) -> None:
        """Also check that the file of points exists."""
        super().check_files(data_root, **files, points=self.points_file)

    def read_records(self) -> tuple[Sequence[str], list[dict]]:
        """Return one record per entry of the list."""
        names, entries = self.entries()
        path = required(Path(self.data_root) / self.points_file, self.remedy)
        return names, [dict(sample_id=f'modelnet40_openshape/{entry.get("name", row)}', category=entry['category'],
                            points_path=str(path), points_index=row, up_axis='y')
                       for row, entry in enumerate(entries)]
