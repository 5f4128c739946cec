#!/usr/bin/env python
r"""Draw depth views under several settings of the projection, to choose them by eye.

    python tools/analysis_tools/projection_sheet.py sheet.png --cloud owl.ply --scene data/scannet \
        --settings '{"depth_bins": 32}' '{}'

Each cloud is a row, each setting (JSON, arguments of ``ContourAwareProjection``) a block of views. ``--scene`` takes
one object of each class from the first scene of ``scannet_infos_val.pkl`` (mmdet3d's format), cropped by its box.
"""
import argparse
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
import trimesh
from mmengine.config import Config
from mmengine.registry import init_default_scope

from opendlign_mm.datasets.procedural import CATEGORIES, sample_shape
from opendlign_mm.projection import ContourAwareProjection
from opendlign_mm.visualization.figures import new_figure, save_figure

REPOSITORY = Path(__file__).resolve().parents[2]


def parse_args() -> argparse.Namespace:
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


def scene_objects(root: Path, classes: Sequence[str] | None = None) -> Iterator[tuple[str, torch.Tensor]]:
    """Yield one object of each class, or of those given, as a name and the points (N, 3) in its box."""
    from mmdet3d.registry import DATASETS

    from opendlign_mm.detection import crop_points  # with it come mmdet3d's models
    init_default_scope('mmdet3d')
    config = Config.fromfile(REPOSITORY / 'configs/_base_/datasets/scannet_open_vocab.py').test_dataloader.dataset
    dataset = DATASETS.build(dict(config, data_root=str(root)))
    scene, names, seen = dataset[0], dataset.metainfo['classes'], set()
    truth = scene['data_samples'].eval_ann_info
    crops = crop_points(scene['inputs']['points'][:, :3], truth['gt_bboxes_3d'], in_box_frame=False)
    for label, crop in zip(truth['gt_labels_3d'], crops, strict=True):
        if label < 0 or names[label] in seen or classes and names[label] not in classes:
            continue
        seen.add(names[label])
        if len(crop) >= 50:
            yield f'{names[label]} ({len(crop)} points)', crop


def main() -> None:
    args = parse_args()
    clouds = [(path.name, np.roll(trimesh.load(path).vertices, 2 - 'xyz'.index(args.up), axis=1))
              for path in args.cloud]
    clouds += [(name, sample_shape(name, np.random.default_rng(0), 4000).points) for name in args.built_in]
    clouds += list(scene_objects(args.scene, args.classes)) if args.scene else []
    if not clouds:
        raise SystemExit('projection_sheet: nothing to draw; give --cloud, --scene or --built-in')
    figure = new_figure((1.5 * len(args.views) * len(args.settings), 1.6 * len(clouds)))
    axes = figure.subplots(len(clouds), len(args.settings), squeeze=False)
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
    print(save_figure(figure, args.out, dpi=110, bbox_inches='tight'))


if __name__ == '__main__':
    main()
