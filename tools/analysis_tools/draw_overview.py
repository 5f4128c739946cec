#!/usr/bin/env python
"""Draw the figure of configs/tiny/README.md: built-in objects as points, depth views and images, and a room.

    python tools/visualize_detections.py configs/opendlign_tiny_scannet.py CHECKPOINT --out pictures --ground-truth
    python tools/analysis_tools/draw_overview.py .github/images/overview.png --room pictures/SCENE_boxes.png
"""
import argparse
from pathlib import Path

import numpy as np
import torch
from matplotlib.image import imread

from opendlign_mm.datasets.procedural import CATEGORIES, sample_shape
from opendlign_mm.generation import ShadedTextureGenerator
from opendlign_mm.projection import ContourAwareProjection
from opendlign_mm.visualization.figures import new_figure, save_figure


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('out', type=Path)
    parser.add_argument('--objects', nargs='+', choices=CATEGORIES, default=['chair', 'bathtub', 'lamp', 'bookshelf'])
    parser.add_argument('--views', type=float, nargs='+', default=[30, 120, 210])
    parser.add_argument('--room', type=Path, help='image of a room, drawn below')
    args = parser.parse_args()
    rows, views = len(args.objects), len(args.views)
    width = 1.25 * (1 + 2 * views)
    room = imread(args.room) if args.room else None
    room_height = 0 if room is None else width * room.shape[0] / room.shape[1]
    figure = new_figure((width, 1.35 * rows + .3 + room_height))
    figure.set_layout_engine('none')
    ratios = [1.35] * rows + [room_height] * (room is not None)
    grid = figure.add_gridspec(len(ratios), 1 + 2 * views, wspace=.03, hspace=.03, height_ratios=ratios)
    project = ContourAwareProjection(view_angles=args.views)
    for row, name in enumerate(args.objects):
        shape = sample_shape(name, np.random.default_rng(11), 8000)
        axis = figure.add_subplot(grid[row, 0], projection='3d')
        axis.scatter(*shape.points[::4].T, s=.4, c=shape.colors[::4] / 255)
        axis.view_init(20, -60)
        axis.set_box_aspect(np.ptp(shape.points, axis=0), zoom=1.3)
        axis.set_axis_off()
        depth_views = project(torch.from_numpy(shape.points)[None])[0]
        colors = np.broadcast_to(shape.colors[[10, 4000]], (views, 2, 3))
        images = ShadedTextureGenerator()(depth_views, range(row * views, (row + 1) * views), colors)
        for column, image in enumerate((*depth_views.numpy(), *images.numpy())):
            axis = figure.add_subplot(grid[row, 1 + column])
            axis.imshow(image, cmap='gray', vmin=0, vmax=1)
            axis.set_axis_off()
            if row == 0 and column % views == views // 2:
                axis.set_title('depth views' if column < views else 'depth-aligned images', fontsize=10)
    if room is not None:
        axis = figure.add_subplot(grid[rows, :])
        axis.imshow(room)
        axis.set_axis_off()
    print(save_figure(figure, args.out, dpi=160, bbox_inches='tight'))


if __name__ == '__main__':
    main()
