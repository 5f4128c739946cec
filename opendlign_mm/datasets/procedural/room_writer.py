"""Procedural rooms as files in the format of ScanNet that mmdet3d reads (info files, version 2)."""
import pickle
from pathlib import Path

import numpy as np
from tqdm import tqdm

from ...atomic_files import atomic_write
from ..class_names import SCANNET_CLASSES
from .rooms import ROOM_CLASSES, Room, make_room

SPLITS = ('train', 'val')


def write_rooms(data_root: str | Path, num_train: int = 0, num_val: int = 12, num_points: int = 40000,
                seed: int = 0) -> None:
    """Write rooms so that mmdet3d's ``ScanNetDataset``, its pipelines and ``IndoorMetric`` read them.

    The layout is ScanNet's: ``scannet_infos_{train,val}.pkl``, ``points/*.bin`` (float32, x y z r g b),
    ``instance_mask/*.bin`` and ``semantic_mask/*.bin`` (int64, NYU40 ids). Each file is written under a temporary name
    and renamed; the info files come last. A room depends on the seed, the split and its number only.

    Args:
        data_root: Folder to write to; made if it does not exist.
        num_train: Number of rooms for training; 0 writes no such split.
        num_val: Number of rooms for validation.
        num_points: Maximum number of points of a room.
        seed: Seed of all rooms; another seed gives other rooms.

    Raises:
        ValueError: A number of rooms is negative, or both are 0.
    """
    counts = dict(train=num_train, val=num_val)
    if min(counts.values()) < 0 or not sum(counts.values()):
        raise ValueError(f'num_train and num_val must be >= 0 and not both 0, got {num_train} and {num_val}')
    data_root = Path(data_root)
    for split in SPLITS:
        if counts[split]:
            infos = [
                _write_room(data_root, f'room_{split}_{index:04d}.bin',
                            make_room(np.random.default_rng([seed, SPLITS.index(split), index]), num_points))
                for index in tqdm(range(counts[split]), desc=f'{split} rooms')
            ]
            categories = {name: SCANNET_CLASSES.index(name) for name in ROOM_CLASSES}
            metainfo = dict(dataset='scannet', categories=categories, info_version='1.1')
            content = pickle.dumps(dict(metainfo=metainfo, data_list=infos))
            _write(data_root / f'scannet_infos_{split}.pkl', content)


def _write_room(data_root: Path, name: str, room: Room) -> dict:
    """Write the files of one room and return its entry in the info file."""
    points = np.concatenate([room.points, room.colors.astype(np.float32)], axis=1)
    _write(data_root / 'points' / name, points.tobytes())
    _write(data_root / 'instance_mask' / name, room.instance_mask.tobytes())
    _write(data_root / 'semantic_mask' / name, room.semantic_mask.tobytes())
    return dict(
        lidar_points=dict(num_pts_feats=6, lidar_path=name),
        pts_instance_mask_path=name,
        pts_semantic_mask_path=name,
        axis_align_matrix=room.axis_align_matrix.tolist(),
        instances=[
            dict(bbox_3d=box.tolist(), bbox_label_3d=int(label))
            for box, label in zip(room.boxes, room.labels, strict=True)
        ])


def _write(path: Path, content: bytes) -> None:
    with atomic_write(path) as unfinished:
        unfinished.write_bytes(content)
