"""Scenes in the formats of ScanNet and SUN RGB-D: mmdet3d's datasets with this package's options."""
from pathlib import Path

import mmengine
from mmdet3d.datasets import ScanNetDataset, SUNRGBDDataset
from mmdet3d.registry import DATASETS

from .scannet_classes import OV3DET_NYU40_IDS
from .unreadable import UnreadablePolicy


@DATASETS.register_module()
class OpenVocabScanNetDataset(UnreadablePolicy, ScanNetDataset):
    """``ScanNetDataset`` whose classes are those that the info file is annotated with.

    mmdet3d's info files (version 2) may list their ``categories``; a file without that list is taken to have ScanNet's
    18 classes. One config thus serves datasets with different classes. Missing files and unknown classes are named in
    one error that says what to do.

    Args:
        data_root: Folder of the dataset.
        ann_file: Info file in it.
        metainfo: ``classes`` here overrule those of the info file; boxes of other classes get the label -1, which
            ``OpenVocabIndoorMetric`` ignores.
        kwargs: ``on_unreadable``, see :class:`UnreadablePolicy`; further arguments of ``ScanNetDataset``.

    Raises:
        FileNotFoundError: There is no such info file.
        ValueError: There are classes that ScanNet does not have, or none.
    """

    def __init__(self, data_root: str, ann_file: str, metainfo: dict | None = None, **kwargs) -> None:
        path = Path(data_root) / ann_file
        if not path.is_file():
            raise FileNotFoundError(
                f'there is no info file {path}. Make rooms with `python tools/make_rooms.py --out {data_root}`, '
                'prepare ScanNet as mmdetection3d describes, or set data_root to where it is')
        metainfo = dict(metainfo or {})
        if 'classes' not in metainfo:
            categories = mmengine.load(str(path)).get('metainfo', {}).get('categories')
            metainfo['classes'] = tuple(categories) if categories else self.METAINFO['classes']
        unknown = sorted(set(metainfo['classes']) - set(self.METAINFO['classes']))
        if unknown or not metainfo['classes']:
            raise ValueError(f"classes must be some of ScanNet's, got {unknown or 'none'}; those of "
                             f'{type(self).__name__} are {", ".join(self.METAINFO["classes"])}')
        super().__init__(data_root=data_root, ann_file=ann_file, metainfo=metainfo, **kwargs)


@DATASETS.register_module()
class OpenVocabScanNet20Dataset(OpenVocabScanNetDataset):
    """ScanNet with the 20 classes that OV-3DET is evaluated on, from an info file of ``tools/make_scannet_infos.py``.

    Arguments and errors are those of :class:`OpenVocabScanNetDataset`.
    """
    METAINFO = dict(ScanNetDataset.METAINFO, classes=tuple(OV3DET_NYU40_IDS),
                    valid_class_ids=tuple(OV3DET_NYU40_IDS.values()))


@DATASETS.register_module()
class OpenVocabSUNRGBDDataset(UnreadablePolicy, SUNRGBDDataset):
    """``SUNRGBDDataset`` with the option ``on_unreadable``.

    Args:
        kwargs: ``on_unreadable``, see :class:`UnreadablePolicy`; further arguments of ``SUNRGBDDataset``.
    """
