#!/usr/bin/env python
"""Make the points and the info file of CoDA's or OV-3DET's single frames of ScanNet or SUN RGB-D.

    python tools/make_coda_infos.py scannet_frames_25k_200cls_val/ --protocol scannet60 --out data/coda_scannet60
    python tools/test.py configs/scannet/coda_scannet60.py CHECKPOINT
    python tools/make_coda_infos.py sunrgbd_pc_bbox_votes_50k_v1_all_classes_revised_0415_val/ --protocol sun46 \
        --out data/coda_sun46
    python tools/test.py configs/scannet/coda_sun46.py CHECKPOINT

The folder has FRAME_bbox.npy, and FRAME_pc.npy (ScanNet) or FRAME_pc.npz (SUN RGB-D), for each frame. Boxes of classes
outside the protocol are left out. OV-3DET's frames, in the protocols ov3det_scannet20 and ov3det_sun20, are those that
it publishes or, of ScanNet, those of tools/make_ov3det_frames.py; their configs have the names of the protocols.
"""
import argparse
import pickle
from pathlib import Path

import numpy as np
from tqdm import tqdm

from opendlign_mm.atomic_files import atomic_write
from opendlign_mm.command_line.user_errors import user_errors
from opendlign_mm.datasets.coda_frames import frame_names, read_frame
from opendlign_mm.datasets.detection_protocols import FRAME_PROTOCOLS


def parse_args() -> argparse.Namespace:
    """Parse the options."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('frames', help='folder of the frames')
    parser.add_argument('--protocol', choices=sorted(FRAME_PROTOCOLS), required=True, help='classes and conventions')
    parser.add_argument('--name', default='val', help='name of the split, a part of the name of the info file')
    parser.add_argument('--out', required=True, help='folder to write, the data_root of the config')
    parser.add_argument('--max-points', type=int, default=20000, help='points taken of a frame, at random')
    parser.add_argument('--seed', type=int, default=0, help='seed of the points drawn')
    parser.add_argument('--traceback', action='store_true', help='show where an error was raised')
    return parser.parse_args()


def write_frame(name: str, args: argparse.Namespace) -> dict:
    """Write the points of a frame and return its entry in the info file."""
    points, boxes, labels = read_frame(args.frames, name, FRAME_PROTOCOLS[args.protocol])
    if len(points) > args.max_points:
        points = points[np.random.default_rng(args.seed).choice(len(points), args.max_points, replace=False)]
    with atomic_write(Path(args.out) / 'points' / f'{name}.bin') as unfinished:
        points.tofile(unfinished)
    return dict(
        lidar_points=dict(num_pts_feats=6, lidar_path=f'{name}.bin'),
        instances=[dict(bbox_3d=box.tolist(), bbox_label_3d=int(label))
                   for box, label in zip(boxes, labels, strict=True)])


def main() -> None:
    """Convert the frames and write the info file last; unreadable frames are skipped, counted and listed."""
    args = parse_args()
    with user_errors(args.traceback):
        if args.max_points < 1:
            raise ValueError(f'--max-points must be >= 1, got {args.max_points}')
        protocol, infos, problems = FRAME_PROTOCOLS[args.protocol], [], []
        names = frame_names(args.frames, protocol)
        for name in tqdm(names, desc='frames'):
            try:
                infos.append(write_frame(name, args))
            except ValueError as error:
                problems.append(str(error))
        if not infos:
            raise ValueError(f'none of {len(names)} frames is readable, the first: {problems[0]}')
        categories = {name: label for label, name in enumerate(protocol.classes)}
        metainfo = dict(dataset=args.protocol, categories=categories, info_version='1.1')
        path = Path(args.out) / f'{args.protocol}_infos_{args.name}.pkl'
        with atomic_write(path) as unfinished:
            unfinished.write_bytes(pickle.dumps(dict(metainfo=metainfo, data_list=infos)))
        labels = [box['bbox_label_3d'] for info in infos for box in info['instances']]
        base = sum(label < len(protocol.base) for label in labels)
        of_base = f'{base} boxes of {len(protocol.base)} base classes, {len(labels) - base} of '
        print(f'{path}: {len(infos)} frames, ' + (f'{of_base}{len(protocol.novel)} novel ones' if protocol.base else
                                                  f'{len(labels)} boxes of {len(protocol.classes)} classes'))
        if problems:
            print(f'{len(problems)} of {len(names)} frames are skipped:\n  ' + '\n  '.join(problems))


if __name__ == '__main__':
    main()
