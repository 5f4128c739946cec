"""ShapeNet: the point clouds of ShapeNet-55, which Point-BERT and ULIP train on, and the meshes of ShapeNetCore."""
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from mmdet3d.registry import DATASETS

from ..source_files import read_json, read_lines
from .shape_dataset import ShapeDataset
from .shape_folder import class_folders

TAXONOMY = 'taxonomy.json'


@DATASETS.register_module()
class ShapeNet55(ShapeDataset):
    """``shapenet_pc/<synset>-<model>.npy``: 8,192 points of each object, y up.

    ``{train,test}.txt`` list the files of a split, ``taxonomy.json`` names the synsets. The classes are the synsets of
    both lists, in the order of their numbers; each is called by the first of its synonyms.

    Args:
        data_root: Folder of the data. For Point-BERT's own arrangement set ``ann_file='ShapeNet-55/train.txt'``.
        ann_file: List of a split.
        data_prefix: ``pts`` is the folder of the points. ``img``, if given, is that of ULIP's renderings, which
            :class:`DrawTextAndRendering` reads.
        taxonomy_file: JSON list with ``synsetId`` and ``name``, relative to ``data_root``.
        kwargs: Further arguments of :class:`ShapeDataset`.
    """

    remedy = ('ULIP publishes it as part of its ShapeNet triplets, with taxonomy.json of ShapeNet itself. Unpack it '
              'and say where it is with --cfg-options data_root=DIR.')

    def __init__(self, data_root: str, ann_file: str = 'train.txt', data_prefix: dict[str, str] | None = None,
                 taxonomy_file: str = TAXONOMY, **kwargs) -> None:
        self.taxonomy_file = taxonomy_file
        super().__init__(data_root=data_root, ann_file=ann_file, data_prefix=data_prefix or dict(pts='shapenet_pc'),
                         **kwargs)

    def check_files(self, data_root: str, **files: str) -> None:
        """Also check that the taxonomy exists."""
        super().check_files(data_root, **files, taxonomy=self.taxonomy_file)

    def read_records(self) -> tuple[Sequence[str], list[dict]]:
        """Return one record per line of the list."""
        # Labels must not depend on the split: a class may occur in one list only.
        lists = {Path(self.ann_file), *(Path(self.ann_file).with_name(f'{split}.txt') for split in ('train', 'test'))}
        synsets = {line.partition('-')[0] for path in lists if path.is_file() for line in read_lines(path, self.remedy)}
        synonyms = synset_synonyms(Path(self.data_root) / self.taxonomy_file, synsets, self.remedy)
        records = []
        for line in read_lines(self.ann_file, self.remedy):
            words, name = synonyms[line.partition('-')[0]], Path(line).stem
            record = dict(sample_id=f'shapenet55/{name}', category=words[0], synonyms=words,
                          points_path=str(Path(self.data_prefix['pts']) / line), up_axis='y')
            if 'img' in self.data_prefix:
                record['rendering_prefix'] = str(Path(self.data_prefix['img']) / name / name)
            records.append(record)
        return [synonyms[synset][0] for synset in sorted(synsets)], self.with_file(records)


@DATASETS.register_module()
class ShapeNetCore(ShapeDataset):
    """The meshes of ShapeNetCore, version 1 or 2, y up.

    ``<synset>/<model>/models/model_normalized.obj`` (version 2) or ``<synset>/<model>/model.obj`` (version 1), and
    ``taxonomy.json``, which names the synsets. The classes are the synsets that have a folder, in the order of their
    numbers; each is called by the first of its synonyms.

    Args:
        data_root: Folder of the synsets.
        taxonomy_file: JSON list with ``synsetId`` and ``name``, relative to ``data_root``.
        kwargs: Further arguments of :class:`ShapeDataset`.
    """

    remedy = ('ShapeNetCore is published by shapenet.org, with taxonomy.json next to the folders of the synsets. '
              'Unpack it and give that folder.')

    def __init__(self, data_root: str, taxonomy_file: str = TAXONOMY, **kwargs) -> None:
        self.taxonomy_file = taxonomy_file
        super().__init__(data_root=data_root, **kwargs)

    def check_files(self, data_root: str, ann_file: str = '', **files: str) -> None:
        """Also check that the taxonomy exists."""
        super().check_files(data_root, ann_file, **files, taxonomy=self.taxonomy_file)

    def read_records(self) -> tuple[Sequence[str], list[dict]]:
        """Return one record per folder of a model."""
        root = Path(self.data_root)
        synsets = [folder for folder in class_folders(root) if is_synset(folder.name)]
        names = synset_names(root / self.taxonomy_file, (folder.name for folder in synsets), self.remedy)
        records = [dict(sample_id=f'shapenet/{folder.name}-{model.name}', category=names[folder.name],
                        points_path=str(_mesh_of(model)), up_axis='y')
                   for folder in synsets for model in class_folders(folder)]
        return [names[folder.name] for folder in synsets], self.with_file(records)


def is_shapenet_core(root: str | Path) -> bool:
    """Return whether the sub-folders of a folder have numbers of synsets as names."""
    names = [folder.name for folder in class_folders(root)]
    return bool(names) and all(map(is_synset, names))


def is_synset(name: str) -> bool:
    """Return whether a name is a number of WordNet, such as 02691156."""
    return re.fullmatch(r'\d{8}', name) is not None


def synset_names(path: Path, synsets: Iterable[str], remedy: str) -> dict[str, str]:
    """Return synset -> first synonym, from ShapeNet's taxonomy; raises as :func:`synset_synonyms`."""
    return {synset: words[0] for synset, words in synset_synonyms(path, synsets, remedy).items()}


def synset_synonyms(path: Path, synsets: Iterable[str], remedy: str) -> dict[str, list[str]]:
    """Return synset -> its names, from ShapeNet's taxonomy.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file is not a taxonomy, or does not name all ``synsets``; the message names it.
    """
    taxonomy = read_json(path, remedy)
    try:
        names = {entry['synsetId']: [word.strip() for word in entry['name'].split(',') if word.strip()] or ['']
                 for entry in taxonomy}
    except (AttributeError, KeyError, TypeError) as error:
        raise ValueError(f"{path} must be a list of objects with 'synsetId' and 'name'. {remedy}") from error
    unknown = sorted(set(synsets) - set(names))
    if unknown:
        raise ValueError(f'{path} does not name the synsets {", ".join(unknown[:5])}')
    return names


def _mesh_of(model: Path) -> Path:
    """Return the mesh in the folder of a model; where it should be if there is none."""
    usual = model / 'models/model_normalized.obj'
    for path in (usual, model / 'model.obj'):
        if path.is_file():
            return path
    return next(iter(sorted((model / 'models').glob('*.obj'))), usual)
