#!/usr/bin/env python
"""Draw the README's picture: built-in objects as points, depth views and pictures; below them a room with named boxes.

    python tools/analysis_tools/draw_overview.py .github/images/overview.png --room pictures/<a picture of visualize_detections.py>
"""
import argparse
from pathlib import Path

import matplotlib
import numpy as np
import torch

matplotlib.use('Agg')
import matplotlib.pyplot as plt

from opendlign_mm.datasets.procedural import CATEGORIES, sample_shape
from opendlign_mm.generation import ShadedTextureGenerator
from opendlign_mm.projection import ContourAwareProjection
from opendlign_mm.visualization.figures import save_figure


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('out', type=Path)
    parser.add_argument('--objects', nargs='+', choices=CATEGORIES, default=['chair', 'bathtub', 'lamp', 'bookshelf'])
    parser.add_argument('--views', type=float, nargs='+', default=[30, 120, 210])
    parser.add_argument('--room', type=Path, help='picture of a room, drawn below')
    args = parser.parse_args()
    rows, views = len(args.objects), len(args.views)
    width = 1.25 * (1 + 2 * views)
    room = plt.imread(args.room) if args.room else None
    room_height = 0 if room is None else width * room.shape[0] / room.shape[1]
    figure = plt.figure(figsize=(width, 1.35 * rows + .3 + room_height))
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
        pictures = ShadedTextureGenerator()(depth_views, range(row * views, (row + 1) * views), colors)
        for column, picture in enumerate((*depth_views.numpy(), *pictures.numpy())):
            axis = figure.add_subplot(grid[row, 1 + column])
            axis.imshow(picture, cmap='gray', vmin=0, vmax=1)
            axis.set_axis_off()
            if row == 0 and column % views == views // 2:
                axis.set_title('depth views' if column < views else 'pictures that agree with them', fontsize=10)
    if room is not None:
        axis = figure.add_subplot(grid[rows, :])
        axis.imshow(room)
        axis.set_axis_off()
    print(save_figure(figure, args.out, dpi=160, bbox_inches='tight'))


if __name__ == '__main__':
    main()
