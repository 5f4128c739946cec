"""Scenes in the formats of ScanNet and SUN RGB-D: mmdet3d's datasets with this package's options and checks."""
from pathlib import Path
from typing import Any

from mmdet3d.datasets import ScanNetDataset, SUNRGBDDataset
from mmdet3d.registry import DATASETS

from ..point_files.restricted_pickle import read_pickle
from ..source_files import read_json
from .class_names import OV3DET_NYU40_IDS
from .detection_protocols import scannet200_classes
from .unreadable import UnreadablePolicy

REMEDY = ('Make rooms with `python tools/make_rooms.py --out DIR`, prepare the dataset as mmdetection3d describes, or '
          'set data_root to where it is.')


class SceneDataset(UnreadablePolicy):
    """Base class, in front of a dataset of mmdet3d, that adds ``on_unreadable`` and reads info files without risk.

    mmdet3d loads its info files, which are pickles, with Python's reader, which runs the code that they may hold. Here
    they may hold arrays and plain values alone; see :mod:`opendlign_mm.point_files.restricted_pickle`.

    Args:
        args, kwargs: ``on_unreadable``, see :class:`UnreadablePolicy`; arguments of the dataset.

    Raises:
        FileNotFoundError: There is no info file; the message says how to get it.
        ValueError: The info file is damaged, or is not one of mmdet3d's version 2; the message names it.
    """

    def load_data_list(self) -> list[dict]:
        """Return one record per scene of the info file."""
        contents = read_info_file(self.ann_file)
        for key, value in contents['metainfo'].items():
            self._metainfo.setdefault(key, value)
        records = []
        for number, info in enumerate(contents['data_list']):
            try:
                records.append(self.parse_data_info(info))
            except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
                raise ValueError(f'{self.ann_file}: scene {number} has unusable entries: {type(error).__name__} '
                                 f'{error}. {REMEDY}') from error
        return records


def read_info_file(path: str | Path) -> dict[str, Any]:
    """Read an info file of mmdet3d (version 2): a pickle or JSON file with ``metainfo`` and ``data_list``.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is damaged or has other contents; the message names it.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f'there is no info file {path}. {REMEDY}')
    contents = read_json(path, REMEDY) if Path(path).suffix == '.json' else read_pickle(path, REMEDY)
    expected = dict(metainfo=dict, data_list=list)
    if not isinstance(contents, dict) or not all(isinstance(contents.get(key), kind) for key, kind in expected.items()):
        raise ValueError(f"{path} is not an info file of mmdetection3d's version 2: it must be a dict with 'metainfo' "
                         f"and 'data_list'. {REMEDY}")
    return contents


@DATASETS.register_module()
class OpenVocabScanNetDataset(SceneDataset, ScanNetDataset):
    """``ScanNetDataset`` whose classes are those that the info file is annotated with.

    mmdet3d's info files (version 2) may list their ``categories``; a file without that list is taken to have ScanNet's
    18 classes. One config thus serves datasets with different classes.

    Args:
        data_root: Folder of the dataset.
        ann_file: Info file in it.
        metainfo: ``classes`` here override those of the info file; boxes of other classes get the label -1, which
            ``OpenVocabIndoorMetric`` ignores.
        kwargs: ``on_unreadable``, see :class:`UnreadablePolicy`; further arguments of ``ScanNetDataset``. With
            ``lazy_init=True``, as mmdet3d's inferencers build it for its classes, the info file may be missing.

    Raises:
        FileNotFoundError: There is no such info file.
        ValueError: The info file is damaged, or there are classes that ScanNet does not have, or none.
    """

    def __init__(self, data_root: str, ann_file: str, metainfo: dict | None = None, **kwargs) -> None:
        path = Path(data_root) / ann_file
        if not path.is_file() and not kwargs.get('lazy_init'):
            raise FileNotFoundError(f'there is no info file {path}. {REMEDY}')
        metainfo = dict(metainfo or {})
        if 'classes' not in metainfo:
            categories = read_info_file(path)['metainfo'].get('categories') if path.is_file() else None
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
class OpenVocabScanNet200Dataset(OpenVocabScanNetDataset):
    """ScanNet with the 198 instance classes of ScanNet200, from an info file of ``tools/make_scannet_infos.py``.

    Arguments and errors are those of :class:`OpenVocabScanNetDataset`.
    """

    METAINFO = dict(ScanNetDataset.METAINFO, classes=scannet200_classes(), valid_class_ids=tuple(range(198)))


@DATASETS.register_module()
class OpenVocabFrameDataset(SceneDataset, SUNRGBDDataset):
    """Single frames with rotated boxes of any classes, from an info file of ``tools/make_coda_infos.py``.

    Args:
        data_root: Folder of the dataset.
        ann_file: Info file in it, which names its classes.
        metainfo: ``classes`` here, some of those of the info file, override it; boxes of others get the label -1.
        kwargs: Further arguments of ``SUNRGBDDataset``, but for the images, and ``on_unreadable``.

    Raises:
        FileNotFoundError: There is no such info file.
        ValueError: It is damaged, names no classes, or not those of ``metainfo``.
    """

    def __init__(self, data_root: str, ann_file: str, metainfo: dict | None = None, **kwargs) -> None:
        path = Path(data_root) / ann_file
        categories = tuple(read_info_file(path)['metainfo'].get('categories') or ())
        metainfo = dict(metainfo or {})
        metainfo.setdefault('classes', categories)
        unknown = sorted(set(metainfo['classes']) - set(categories))
        if unknown or not categories:
            raise ValueError(f'{path} has boxes of {", ".join(categories[:8]) or "no named classes"}'
                             f'{", ..." * (len(categories) > 8)}, not of {", ".join(unknown[:8]) or "any"}')
        self.METAINFO = dict(SUNRGBDDataset.METAINFO, classes=categories)
        super().__init__(data_root=data_root, ann_file=ann_file, metainfo=metainfo,
                         modality=dict(use_camera=False, use_lidar=True), **kwargs)


@DATASETS.register_module()
class OpenVocabSUNRGBDDataset(SceneDataset, SUNRGBDDataset):
    """``SUNRGBDDataset`` with the option ``on_unreadable``; arguments and errors are those of :class:`SceneDataset`."""
