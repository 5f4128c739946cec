"""ScanNet's classes with their NYU40 ids, and how prompts say them."""
from collections.abc import Sequence

# ScanNet's 18 detection classes in mmdet3d's order and spelling, and their NYU40 ids; a label is an index of the list.
SCANNET_CLASSES = ('cabinet', 'bed', 'chair', 'sofa', 'table', 'door', 'window', 'bookshelf', 'picture', 'counter',
                   'desk', 'curtain', 'refrigerator', 'showercurtrain', 'toilet', 'sink', 'bathtub', 'garbagebin')
SCANNET_NYU40_IDS = (3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 14, 16, 24, 28, 33, 34, 36, 39)
SCANNET18_NYU40_IDS = dict(zip(SCANNET_CLASSES, SCANNET_NYU40_IDS, strict=True))
# OV-3DET's 20 classes (OpenDlign, table 9), in the order of the table.
OV3DET_NYU40_IDS = dict(
    toilet=33, bed=4, chair=5, sofa=6, dresser=17, table=7, cabinet=3, bookshelf=10, pillow=18, sink=34, bathtub=36,
    refrigerator=24, desk=14, nightstand=32, counter=12, door=8, curtain=16, box=29, lamp=35, bag=37)
CLASS_SETS = dict(scannet18=SCANNET18_NYU40_IDS, ov3det20=OV3DET_NYU40_IDS)
# Words that a text encoder knows, for ScanNet's spellings.
SCANNET_WORDING = dict(showercurtrain='shower curtain', garbagebin='garbage bin')


def vocabulary_of(class_names: Sequence[str], wording: dict[str, str] | None = None) -> tuple[str, ...]:
    """Return class names as prompts should say them.

    Args:
        class_names: Names of the dataset.
        wording: Other words for some names; those of ScanNet by default.
    """
    wording = SCANNET_WORDING if wording is None else wording
    return tuple(wording.get(name, name) for name in class_names)
