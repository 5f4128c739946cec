"""ShapeNet-55, the point clouds that Point-BERT and ULIP train on."""
from collections.abc import Sequence
from pathlib import Path

from mmdet3d.registry import DATASETS

from .shape_dataset import ShapeDataset
from .source_files import read_json, read_lines


@DATASETS.register_module()
class ShapeNet55(ShapeDataset):
    """``shapenet_pc/<synset>-<model>.npy``: 8,192 points of each object, y up.

    ``{train,test}.txt`` list the files of a split, ``taxonomy.json`` names the synsets. The classes are the synsets of
    both lists, in the order of their numbers; each is called by the first of its synonyms.

    Args:
        data_root: Folder of the data. For Point-BERT's own arrangement set ``ann_file='ShapeNet-55/train.txt'``.
        ann_file: The list of a split.
        data_prefix: ``pts`` is the folder of the points.
        taxonomy_file: JSON list with ``synsetId`` and ``name``, relative to ``data_root``.
        kwargs: See :class:`ShapeDataset`.
    """

    remedy = ('ULIP publishes it as part of its ShapeNet triplets, with taxonomy.json of ShapeNet itself. Unpack it '
              'and say where it is with --cfg-options data_root=DIR.')

    def __init__(self, data_root: str, ann_file: str = 'train.txt', data_prefix: dict[str, str] | None = None,
                 taxonomy_file: str = 'taxonomy.json', **kwargs) -> None:
        self.taxonomy_file = taxonomy_file
        super().__init__(data_root=data_root, ann_file=ann_file, data_prefix=data_prefix or dict(pts='shapenet_pc'),
                         **kwargs)

    def check_files(self, data_root: str, **files: str) -> None:
        """Also the taxonomy."""
        super().check_files(data_root, **files, taxonomy=self.taxonomy_file)

    def read_records(self) -> tuple[Sequence[str], list[dict]]:
        """One record a line of the list."""
        # Labels must not depend on the split: a class may occur in one list only.
        lists = {Path(self.ann_file), *(Path(self.ann_file).with_name(f'{split}.txt') for split in ('train', 'test'))}
        synsets = {line.partition('-')[0] for path in lists if path.is_file() for line in read_lines(path, self.remedy)}
        taxonomy = read_json(Path(self.data_root) / self.taxonomy_file, self.remedy)
        names = {entry['synsetId']: entry['name'].split(',')[0].strip() for entry in taxonomy}
        unknown = sorted(synsets - set(names))
        if unknown:
            raise ValueError(f'{self.taxonomy_file} in {self.data_root} does not name the synsets '
                             f'{", ".join(unknown[:5])} of the lists')
        records = []
        for line in read_lines(self.ann_file, self.remedy):
            records.append(dict(sample_id=f'shapenet55/{Path(line).stem}', category=names[line.partition('-')[0]],
                                points_path=str(Path(self.data_prefix['pts']) / line), up_axis='y'))
        return [names[synset] for synset in sorted(synsets)], self.with_file(records)
