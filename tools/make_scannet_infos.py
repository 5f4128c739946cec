#!/usr/bin/env python
r"""Make the points and the info file of ScanNet for a set of classes, from the files that ScanNet publishes.

    python tools/make_scannet_infos.py scans/ scannetv2-labels.combined.tsv \
        --split scannetv2_val.txt --out data/scannet20

    python tools/make_scannet_infos.py scans/ scannetv2-labels.combined.tsv --classes scannet200 \
        --split scannetv2_val.txt --out data/scannet200

configs/opendlign_h14_scannet20.py reads the written OUT/points/*.bin and OUT/scannet20_infos_val.pkl. Each scan needs
SCAN_vh_clean_2.ply, SCAN_vh_clean_2.0.010000.segs.json, SCAN.aggregation.json and SCAN.txt; with --mesh fine
SCAN_vh_clean.ply, SCAN_vh_clean.segs.json and SCAN_vh_clean.aggregation.json.
"""
import argparse
import pickle
from pathlib import Path

import numpy as np
from tqdm import tqdm

from opendlign_mm.atomic_files import atomic_write
from opendlign_mm.command_line.user_errors import user_errors
from opendlign_mm.datasets.class_names import CLASS_SETS
from opendlign_mm.datasets.detection_protocols import scannet200_classes
from opendlign_mm.datasets.scannet_scans import MESHES, list_scans, read_label_map, read_scan


def parse_args() -> argparse.Namespace:
    """Parse the options."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('scans', help='folder with one sub-folder for each scan')
    parser.add_argument('labels', help='scannetv2-labels.combined.tsv')
    parser.add_argument('--split', help='text file with the name of one scan per line; default all scans')
    parser.add_argument('--name', default='val', help='name of the split, a part of the name of the info file')
    parser.add_argument('--out', required=True, help='folder to write, the data_root of the config')
    parser.add_argument('--classes', choices=[*sorted(CLASS_SETS), 'scannet200'], default='ov3det20',
                        help='classes of the boxes')
    parser.add_argument('--mesh', choices=sorted(MESHES), default='coarse', help='resolution of the mesh')
    parser.add_argument('--max-points', type=int, help='maximum number of points per scan, at random; default all')
    parser.add_argument('--seed', type=int, default=0, help='seed of the points drawn')
    parser.add_argument('--traceback', action='store_true', help='show where an error was raised')
    return parser.parse_args()


def classes_and_ids(args: argparse.Namespace) -> tuple[dict[str, int], dict[str, int]]:
    """Return name -> id of the classes, and raw category -> id of the same kind."""
    if args.classes != 'scannet200':
        return CLASS_SETS[args.classes], read_label_map(Path(args.labels))
    ids = read_label_map(Path(args.labels), 'id')
    absent = [name for name in scannet200_classes() if name not in ids]
    if absent:
        raise ValueError(f'{args.labels} does not have {len(absent)} classes of ScanNet200: {", ".join(absent[:5])}')
    return {name: ids[name] for name in scannet200_classes()}, ids


def write_scan(name: str, args: argparse.Namespace, classes: dict[str, int], ids: dict[str, int]) -> dict:
    """Write the points of a scan and return its entry in the info file."""
    scan = read_scan(Path(args.scans) / name, args.mesh)
    boxes, labels = scan.boxes(classes, ids)
    points = scan.points
    if args.max_points and len(points) > args.max_points:
        points = points[np.random.default_rng(args.seed).choice(len(points), args.max_points, replace=False)]
    with atomic_write(Path(args.out) / 'points' / f'{name}.bin') as unfinished:
        points.tofile(unfinished)
    return dict(
        lidar_points=dict(num_pts_feats=6, lidar_path=f'{name}.bin'),
        pts_semantic_mask_path=f'{name}.bin',
        pts_instance_mask_path=f'{name}.bin',
        axis_align_matrix=scan.axis_align_matrix.tolist(),
        instances=[dict(bbox_3d=box.tolist(), bbox_label_3d=int(label))
                   for box, label in zip(boxes, labels, strict=True)])


def main() -> None:
    """Convert the scans and write the info file last; unreadable scans are skipped, counted and listed."""
    args = parse_args()
    with user_errors(args.traceback):
        names = list_scans(Path(args.scans), Path(args.split) if args.split else None)
        (classes, ids), infos, problems = classes_and_ids(args), [], []
        for name in tqdm(names, desc='scans'):
            try:
                infos.append(write_scan(name, args, classes, ids))
            except (OSError, ValueError) as error:
                problems.append(str(error))
        if not infos:
            raise ValueError(f'none of {len(names)} scans is readable, the first: {problems[0]}')
        metainfo = dict(dataset='scannet', categories={name: label for label, name in enumerate(classes)},
                        info_version='1.1')
        prefix = dict(ov3det20='scannet20', scannet200='scannet200').get(args.classes, 'scannet')
        path = Path(args.out) / f'{prefix}_infos_{args.name}.pkl'
        with atomic_write(path) as unfinished:
            unfinished.write_bytes(pickle.dumps(dict(metainfo=metainfo, data_list=infos)))
        counts = [sum(box['bbox_label_3d'] == label for info in infos for box in info['instances'])
                  for label in range(len(classes))]
        print(f'{path}: {len(infos)} scans, {sum(counts)} boxes: '
              + ', '.join(f'{count} {name}' for name, count in zip(classes, counts, strict=True)))
        if problems:
            print(f'{len(problems)} of {len(names)} scans are skipped:\n  ' + '\n  '.join(problems))


if __name__ == '__main__':
    main()
