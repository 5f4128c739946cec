#!/usr/bin/env python
"""Contact sheet of depth views under several settings of the projection, to choose them by looking.

    python tools/projection_sheet.py sheet.png --cloud owl.ply --scene SCANNET_ROOT --settings '{"depth_bins": 32}' '{}'

One row a cloud, one block of views a setting (JSON of ``ContourAwareProjection`` arguments). ``--scene`` takes objects
of the first scene in ``scannet_infos_val.pkl`` (mmdet3d's format), one of each class, cropped by their boxes.
"""
import argparse
import json
import pickle
import sys
from pathlib import Path

import matplotlib
import numpy as np
import torch
import trimesh

matplotlib.use('Agg')
import matplotlib.pyplot as plt  # noqa: E402

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from opendlign_mm.datasets.shapes import CATEGORIES, sample_shape  # noqa: E402
from opendlign_mm.projection import ContourAwareProjection  # noqa: E402
from opendlign_mm.visualization.figures import save_figure  # noqa: E402


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('out', type=Path)
    parser.add_argument('--cloud', type=Path, nargs='*', default=[], help='point clouds or meshes that trimesh reads')
    parser.add_argument('--up', choices='xyz', default='z', help='vertical axis of the --cloud files')
    parser.add_argument('--scene', type=Path, help='folder with scannet_infos_val.pkl and points/')
    parser.add_argument('--classes', nargs='*', help='only these classes of the scene')
    parser.add_argument('--built-in', nargs='*', default=[], choices=CATEGORIES, help='built-in objects')
    parser.add_argument('--settings', type=json.loads, nargs='+', default=[{}])
    parser.add_argument('--views', type=float, nargs='+', default=[30, 120, 210])
    return parser.parse_args()


def scene_objects(root: Path, classes=None):
    """One object of each class, or of those given: (name, (N, 3)) with the points inside its axis-aligned box."""
    with open(root / 'scannet_infos_val.pkl', 'rb') as file:
        infos = pickle.load(file)
    info = infos['data_list'][0]
    points = np.fromfile(root / 'points' / info['lidar_points']['lidar_path'], dtype=np.float32).reshape(-1, 6)[:, :3]
    align = np.asarray(info['axis_align_matrix'])
    points = points @ align[:3, :3].T + align[:3, 3]
    if 'categories' in infos['metainfo']:
        names = {label: name for name, label in infos['metainfo']['categories'].items()}
    else:
        from mmdet3d.datasets import ScanNetDataset
        names = ScanNetDataset.METAINFO['classes']
    seen = set()
    for instance in info['instances']:
        name = names[instance['bbox_label_3d']]
        if name in seen or classes and name not in classes:
            continue
        seen.add(name)
        box = np.asarray(instance['bbox_3d'])
        inside = (np.abs(points - box[:3]) <= box[3:6] / 2).all(1)
        if inside.sum() >= 50:
            yield f'{name} ({inside.sum()} points)', points[inside]


def main():
    args = parse_args()
    clouds = [(path.name, np.roll(trimesh.load(path).vertices, 2 - 'xyz'.index(args.up), axis=1))
              for path in args.cloud]
    clouds += [(name, sample_shape(name, np.random.default_rng(0), 4000).points) for name in args.built_in]
    clouds += list(scene_objects(args.scene, args.classes)) if args.scene else []
    if not clouds:
        raise SystemExit('projection_sheet: nothing to draw; give --cloud, --scene or --built-in')
    figure, axes = plt.subplots(len(clouds), len(args.settings), squeeze=False,
                                figsize=(1.5 * len(args.views) * len(args.settings), 1.6 * len(clouds)))
    for column, settings in enumerate(args.settings):
        project = ContourAwareProjection(**{'view_angles': args.views, **settings})
        for row, (name, points) in enumerate(clouds):
            views = project(torch.as_tensor(np.asarray(points), dtype=torch.float32)[None])[0]
            axis = axes[row, column]
            axis.imshow(np.concatenate(list(views.numpy()), axis=1), cmap='gray', vmin=0, vmax=1)
            axis.set_xticks([])
            axis.set_yticks([])
            if column == 0:
                axis.set_ylabel(name, rotation=0, ha='right', va='center', fontsize=8)
            if row == 0:
                axis.set_title(', '.join(f'{key}={value}' for key, value in settings.items()) or 'defaults', fontsize=8)
    figure.tight_layout(pad=.3)
    print(save_figure(figure, args.out, dpi=110))


if __name__ == '__main__':
    main()
