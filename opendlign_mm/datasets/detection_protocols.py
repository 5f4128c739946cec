"""Classes of the protocols by which open-vocabulary detectors are compared on ScanNet and SUN RGB-D."""
import json
from dataclasses import dataclass
from pathlib import Path

from .class_names import OV3DET_NYU40_IDS

_VOCABULARIES = Path(__file__).parents[1] / 'assets/vocabularies'
_NO_INSTANCES = ('wall', 'floor')

# CoDA, ScanNet: names and ids in ScanNet's own labels. Training sees the boxes of the base classes only.
SCANNET60_BASE = {'chair': 2, 'table': 4, 'door': 5, 'cabinet': 7, 'pillow': 13, 'picture': 15, 'window': 16,
                  'book': 22, 'trash can': 56, 'object': 1163}
SCANNET60_NOVEL = {
    'couch': 6, 'shelf': 8, 'desk': 9, 'office chair': 10, 'bed': 11, 'sink': 14, 'toilet': 17, 'bookshelf': 18,
    'monitor': 19, 'curtain': 21, 'armchair': 23, 'coffee table': 24, 'box': 26, 'refrigerator': 27, 'lamp': 28,
    'kitchen cabinet': 29, 'towel': 31, 'clothes': 32, 'tv': 33, 'nightstand': 34, 'counter': 35, 'dresser': 36,
    'stool': 38, 'cushion': 39, 'plant': 40, 'ceiling': 41, 'bathtub': 42, 'end table': 44, 'dining table': 45,
    'keyboard': 46, 'bag': 47, 'backpack': 48, 'toilet paper': 49, 'printer': 50, 'tv stand': 51, 'whiteboard': 52,
    'blanket': 54, 'shower curtain': 55, 'closet': 57, 'stairs': 58, 'microwave': 59, 'stove': 62, 'shoe': 63,
    'computer tower': 64, 'bottle': 65, 'bin': 66, 'ottoman': 67, 'bench': 68, 'board': 69, 'washing machine': 70}
# CoDA, SUN RGB-D version 1: the id of a class is its place in this list.
SUN46_BASE = ('chair', 'table', 'pillow', 'sofa_chair', 'desk', 'bed', 'sofa', 'computer', 'box', 'lamp')
SUN46_NOVEL = (
    'garbage_bin', 'cabinet', 'shelf', 'drawer', 'sink', 'night_stand', 'kitchen_counter', 'paper', 'end_table',
    'kitchen_cabinet', 'picture', 'book', 'stool', 'coffee_table', 'bookshelf', 'painting', 'key_board', 'dresser',
    'tv', 'whiteboard', 'cpu', 'toilet', 'file_cabinet', 'bench', 'ottoman', 'plant', 'monitor', 'printer',
    'recycle_bin', 'door', 'fridge', 'towel', 'cup', 'mirror', 'laptop', 'cloth')
# OV-3DET, SUN RGB-D version 1: the id of a class is its place in this list.
SUN20 = ('chair', 'table', 'pillow', 'desk', 'bed', 'sofa', 'lamp', 'garbage_bin', 'cabinet', 'sink', 'night_stand',
         'stool', 'bookshelf', 'dresser', 'toilet', 'fridge', 'microwave', 'counter', 'bathtub', 'scanner')


@dataclass(frozen=True)
class FrameProtocol:
    """Protocol on single frames in the files of CoDA and OV-3DET.

    Attributes:
        base: Classes whose boxes training sees: name -> id in the files. None in OV-3DET's protocol.
        novel: The other classes.
        clockwise: Whether the yaw in the files grows from +x towards -y.
        points_suffix: End of the names of the files of points.
        color_unit: Factor that turns the colors of these files into 0 to 255.
    """
    base: dict[str, int]
    novel: dict[str, int]
    clockwise: bool
    points_suffix: str
    color_unit: float

    @property
    def classes(self) -> dict[str, int]:
        """Name -> id of all classes, base first."""
        return {**self.base, **self.novel}


_SUN46_IDS = {name: place for place, name in enumerate((*SUN46_BASE, *SUN46_NOVEL))}
FRAME_PROTOCOLS = dict(
    scannet60=FrameProtocol(SCANNET60_BASE, SCANNET60_NOVEL, False, '_pc.npy', 1.),
    sun46=FrameProtocol({name: _SUN46_IDS[name] for name in SUN46_BASE},
                        {name: _SUN46_IDS[name] for name in SUN46_NOVEL}, True, '_pc.npz', 255.),
    ov3det_scannet20=FrameProtocol({}, {name: place for place, name in enumerate(OV3DET_NYU40_IDS)}, True, '_pc.npy',
                                   1.),
    ov3det_sun20=FrameProtocol({}, {name: place for place, name in enumerate(SUN20)}, True, '_pc.npz', 255.))


def scannet200_classes() -> tuple[str, ...]:
    """Return the 198 class names of ScanNet200's instance benchmark, which has neither wall nor floor, by frequency."""
    lines = (_VOCABULARIES / 'scannet200.txt').read_text().splitlines()
    return tuple(line for line in lines if line not in ('', *_NO_INSTANCES))


def scannet200_groups() -> dict[str, tuple[str, ...]]:
    """Return the names of the 64 head, 68 common and 66 tail classes of ScanNet200 (``scannet200_splits.py``)."""
    groups = json.loads((_VOCABULARIES / 'scannet200_groups.json').read_text())
    return {group: tuple(name for name in names if name not in _NO_INSTANCES) for group, names in groups.items()}
