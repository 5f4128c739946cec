"""ModelNet40 in the three layouts in which it is published."""
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from mmdet3d.registry import DATASETS

from ..point_files.array_files import h5_records
from ..source_files import read_lines, required
from .shape_dataset import ShapeDataset
from .shape_folder import ShapeFolder

RESAMPLED = 'modelnet40_normal_resampled'
H5 = 'modelnet40_ply_hdf5_2048'


@DATASETS.register_module()
class ModelNet40Resampled(ShapeDataset):
    """``modelnet40_normal_resampled``: 10,000 points of each object, x, y, z and normal, y up.

    ``<class>/<class>_<number>.txt`` hold the points, ``modelnet40_shape_names.txt`` the classes in the order of their
    labels, ``modelnet40_{train,test}.txt`` the objects of a split.

    Args:
        data_root: The folder of these files.
        ann_file: List of objects.
        names_file: List of classes.
        kwargs: Further arguments of :class:`ShapeDataset`.
    """

    benchmark = 'ModelNet40'
    remedy = (f'{RESAMPLED}.zip is published with PointNet++. Unpack it and say where it is with --cfg-options '
              'data_root=DIR.')

    def __init__(self, data_root: str, ann_file: str = 'modelnet40_test.txt',
                 names_file: str = 'modelnet40_shape_names.txt', **kwargs) -> None:
        self.names_file = names_file
        super().__init__(data_root=data_root, ann_file=ann_file, **kwargs)

    def read_records(self) -> tuple[Sequence[str], list[dict]]:
        """Return one record per line of the list."""
        root, records = Path(self.data_root), []
        for name in read_lines(self.ann_file, self.remedy):
            category = name.rpartition('_')[0]  # flower_pot_0012
            records.append(dict(sample_id=f'{RESAMPLED}/{name}', category=category, up_axis='y',
                                points_path=str(root / category / f'{name}.txt')))
        return read_lines(root / self.names_file, self.remedy), self.with_file(records)


@DATASETS.register_module()
class ModelNet40H5(ShapeDataset):
    """``modelnet40_ply_hdf5_2048``: 2,048 points of each object in a few h5 files, y up.

    ``{train,test}_files.txt`` list the h5 files, in which ``data`` is (M, 2048, 3) and ``label`` (M, 1);
    ``shape_names.txt`` has the classes in the order of the labels.

    Args:
        data_root: The folder of these files.
        ann_file: List of h5 files, of whose paths only the names are used.
        names_file: List of classes.
        kwargs: Further arguments of :class:`ShapeDataset`.
    """

    benchmark = 'ModelNet40'
    remedy = f'{H5}.zip is published with PointNet. Unpack it and say where it is with --cfg-options data_root=DIR.'

    def __init__(self, data_root: str, ann_file: str = 'test_files.txt', names_file: str = 'shape_names.txt',
                 **kwargs) -> None:
        self.names_file = names_file
        super().__init__(data_root=data_root, ann_file=ann_file, **kwargs)

    def read_records(self) -> tuple[Sequence[str], list[dict]]:
        """Return one record per row of each file."""
        root = Path(self.data_root)
        names, records = read_lines(root / self.names_file, self.remedy), []
        for line in read_lines(self.ann_file, self.remedy):
            path = required(root / PurePosixPath(line).name, self.remedy)
            records += h5_records(path, names, f'{H5}/{path.stem}')
        return names, records


@DATASETS.register_module()
class ModelNet40Meshes(ShapeFolder):
    """``ModelNet40/<class>/{train,test}/<class>_<number>.off``: the CAD models themselves, z up.

    Args:
        data_root: The folder of the classes.
        split: 'train' or 'test'.
        kwargs: Further arguments of :class:`ShapeFolder`.
    """

    benchmark = 'ModelNet40'
    remedy = ("ModelNet40.zip is published by Princeton's ModelNet project. Unpack it and say where it is with "
              '--cfg-options data_root=DIR.')

    def __init__(self, data_root: str, split: str = 'test', **kwargs) -> None:
        if split not in ('train', 'test'):
            raise ValueError(f"split must be 'train' or 'test', got {split!r}")
        super().__init__(data_root=data_root, extensions=('.off', ), inside=split, up_axis='z', name='ModelNet40',
                         **kwargs)
