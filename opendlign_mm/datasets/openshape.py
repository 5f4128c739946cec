"""The data that OpenShape publishes: its training objects, Objaverse-LVIS and ModelNet40, listed in JSON files."""
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from mmdet3d.registry import DATASETS

from ..source_files import read_json, required
from .image_features import ImageFeatures
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

    def paths_below_root(self, entries: Sequence[dict]) -> list[Path]:
        """Return where each entry's ``data_path`` lies below ``data_root``.

        The paths are those of the authors' machine; the longest end of the first one that exists decides for all.

        Raises:
            FileNotFoundError: No object has its file.
        """
        cut = self._published_part(entries)
        return [Path(self.data_root).joinpath(*PurePosixPath(entry['data_path']).parts[cut:]) for entry in entries]

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
        records = []
        for entry, path in zip(entries, self.paths_below_root(entries), strict=True):
            records.append(dict(sample_id=f'objaverse_lvis/{entry.get("uid", path.stem)}', category=entry['category'],
                                points_path=str(path), up_axis='y'))
        return names, self.with_file(records)


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


@DATASETS.register_module()
class OpenShapeTriplets(_OpenShapeSplit):
    """OpenShape's training objects: points, texts and images, the latter two as features of CLIP ViT-bigG-14.

    The list has ``dataset`` (Objaverse, ShapeNet, ABO or 3D-FUTURE), ``group``, ``id`` and ``data_path`` of each
    object. Put :class:`LoadOpenShapeObject` first in the pipeline. The objects have no class.

    Args:
        data_root: Folder of ``meta_data`` and of the folders of points.
        ann_file: The list: ``train_all.json``, ``train_no_lvis.json`` or, of ShapeNet alone,
            ``ablation/train_shapenet_only.json`` below ``meta_data/split``.
        text_filter: JSON file of the GPT-4 filter: an object of Objaverse whose ``flag`` in it is 'N' loses its own
            text. None: no filter.
        aligned_features: "+dlign": folder of tools/encode_images.py with features of depth-aligned images. They replace
            those of renderings for the objects that it has; the others keep theirs. It must be made with the CLIP of
            the features, ViT-bigG-14 (laion2b_s39b_b160k); features of another length are refused.
        aligned_name: Name of an object of ShapeNet in that folder, with ``{}`` for its ``id``.
        kwargs: Further arguments of :class:`ShapeDataset`.

    Raises:
        FileNotFoundError: A file is missing; the message says how to get it.
        ValueError: An entry lacks a key, an object is not in the filter, or no object has features in
            ``aligned_features``.
    """

    remedy = _REMEDY.format(parts='meta_data.zip and the folders of objects')

    def __init__(self, data_root: str, ann_file: str = 'meta_data/split/train_all.json',
                 text_filter: str | None = 'meta_data/gpt4_filtering.json', aligned_features: str | None = None,
                 aligned_name: str = 'shapenet/{}', **kwargs) -> None:
        self.text_filter, self.aligned_name = text_filter, aligned_name
        self.features = None if aligned_features is None else ImageFeatures(aligned_features)
        super().__init__(data_root=data_root, ann_file=ann_file, **kwargs)
        if self.features is not None:
            self._metainfo['image_features_clip'] = self.features.identity

    def check_files(self, data_root: str, **files: str) -> None:
        """Also check that the filter exists."""
        super().check_files(data_root, **files, **(dict(filter=self.text_filter) if self.text_filter else {}))

    def read_records(self) -> tuple[None, list[dict]]:
        """Return one record per entry of the list."""
        entries = read_json(self.ann_file, self.remedy)
        needed = ('dataset', 'id', 'data_path')
        if not isinstance(entries, list) or not all(isinstance(e, dict) and set(needed) <= set(e) for e in entries):
            raise ValueError(f'{self.ann_file} must be a list of objects with {", ".join(needed)}. {self.remedy}')
        flags = read_json(Path(self.data_root) / self.text_filter, self.remedy) if self.text_filter else {}
        aligned = set() if self.features is None else self.features.names()
        records = []
        for entry, path in zip(entries, self.paths_below_root(entries), strict=True):
            identifier, source = str(entry['id']), entry['dataset']
            if self.text_filter and source == 'Objaverse' and identifier not in flags:
                raise ValueError(f'{self.text_filter} has no flag of the object {identifier} of {self.ann_file}')
            record = dict(sample_id=f'{source}/{identifier}', points_path=str(path), up_axis='y', source=source,
                          own_text=source != 'Objaverse' or not self.text_filter or flags[identifier]['flag'] != 'N')
            name = self.aligned_name.format(identifier)
            if source == 'ShapeNet' and name in aligned:
                record['aligned_features'] = name
            records.append(record)
        if aligned and not any('aligned_features' in record for record in records):
            raise ValueError(f'{self.features.root} has features of {next(iter(sorted(aligned)))}, ..., but none of an '
                             f'object of {self.ann_file}, such as {self.aligned_name.format(entries[0]["id"])}; set '
                             'aligned_name to how the folder names objects')
        return None, self.with_file(records)

    def get_data_info(self, idx: int) -> dict:
        """Return the record of an object, with the features of its depth-aligned images where it has some."""
        record = super().get_data_info(idx)
        if 'aligned_features' in record:
            record['aligned_features'] = self.features.of(record['aligned_features'])[0]
        return record
