"""ScanObjectNN, objects of real scans."""
from collections.abc import Sequence
from pathlib import Path

from mmdet3d.registry import DATASETS

from ..point_files.array_files import h5_records
from ..source_files import read_lines
from .shape_dataset import ShapeDataset

# The h5 files hold numbers only, and no other file has names: this is the order of the published documentation.
PUBLISHED_NAMES = ('bag', 'bin', 'box', 'cabinet', 'chair', 'desk', 'display', 'door', 'shelf', 'table', 'bed',
                   'pillow', 'sink', 'sofa', 'toilet')


@DATASETS.register_module()
class ScanObjectNN(ShapeDataset):
    """``h5_files/<split>/<file>.h5`` with ``data`` (M, 2048, 3), y up, and ``label`` (M,).

    The classes are those of a names file, one a line in the order of the labels, if there is one. The published data
    has no names; then the 15 names of its documentation are used, in its order.

    Args:
        data_root: The folder that has ``h5_files``.
        ann_file: The h5 file. ``main_split_nobg`` are objects alone (OBJ_ONLY, the paper's), ``main_split`` those with
            background (OBJ_BG), ``test_objectdataset_augmentedrot_scale75.h5`` the hardest variant (PB_T50_RS).
        names_file: Names of files that are tried in the folder of the h5 file and in ``data_root``.
        kwargs: Further arguments of :class:`ShapeDataset`.
    """

    benchmark = 'ScanObjectNN'
    remedy = ('h5_files.zip is published by the ScanObjectNN project on request. Unpack it and say where it is with '
              '--cfg-options data_root=DIR.')

    def __init__(self, data_root: str, ann_file: str = 'h5_files/main_split_nobg/test_objectdataset.h5',
                 names_file: Sequence[str] = ('scanobjectnn_shape_names.txt', 'ScanObjectNN_shape_names.txt',
                                              'shape_names.txt'), **kwargs) -> None:
        self.names_files = (names_file, ) if isinstance(names_file, str) else tuple(names_file)
        super().__init__(data_root=data_root, ann_file=ann_file, **kwargs)

    def read_records(self) -> tuple[Sequence[str], list[dict]]:
        """Return one record per row of the file."""
        path = Path(self.ann_file)
        places = [folder / name for folder in (path.parent, Path(self.data_root)) for name in self.names_files]
        found = next((place for place in places if place.is_file()), None)
        names = PUBLISHED_NAMES if found is None else read_lines(found, self.remedy)
        return names, h5_records(path, names, f'scanobjectnn/{path.parent.name}/{path.stem}')
