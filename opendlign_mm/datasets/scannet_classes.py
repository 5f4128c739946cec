"""The sets of classes that detectors are evaluated on in ScanNet, by their NYU40 ids."""
from .procedural.rooms import SCANNET_CLASSES, SCANNET_NYU40_IDS

# ScanNet's own benchmark, in mmdet3d's order and spelling.
SCANNET18_NYU40_IDS = dict(zip(SCANNET_CLASSES, SCANNET_NYU40_IDS))

# OV-3DET's 20 classes (OpenDlign, table 9), in the order of the table.
OV3DET_NYU40_IDS = dict(
    toilet=33, bed=4, chair=5, sofa=6, dresser=17, table=7, cabinet=3, bookshelf=10, pillow=18, sink=34, bathtub=36,
    refrigerator=24, desk=14, nightstand=32, counter=12, door=8, curtain=16, box=29, lamp=35, bag=37)

CLASS_SETS = dict(scannet18=SCANNET18_NYU40_IDS, ov3det20=OV3DET_NYU40_IDS)
