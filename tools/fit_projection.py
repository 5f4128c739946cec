#!/usr/bin/env python
"""Fit the constants of the projection to released depth views: do our views match theirs?

    python tools/fit_projection.py data/modelnet40_normal_resampled data/opendlign/modelnet40/depth_map --out fit
    python tools/fit_projection.py my_points.py my_depth --out fit    # a config with `dataset = dict(type=...)`

VIEWS has <id>_dm.npy or <id>+<category>_dm.npy of the objects whose points SRC has. fit/projection.py gets the
elevation, object ratio, depth bias, depth bins, sigmas and azimuths whose views differ least, fit/comparison.png both
views of each object and their difference. The up axis, the order of the views and mirroring are found, too. The exit
code is 1 where no constants fit.
"""
import argparse
import sys
from pathlib import Path

from mmengine.registry import init_default_scope
from tqdm import tqdm

from opendlign_mm.command_line.user_errors import user_errors


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('source', metavar='SRC', help='folder of point clouds or meshes, or a config with `dataset`')
    parser.add_argument('views', metavar='VIEWS', help='folder of *_dm.npy')
    parser.add_argument('--out', type=Path, required=True, help='folder to write')
    parser.add_argument('--objects', type=int, default=4, help='number of objects to fit, spread over those in both')
    parser.add_argument('--num-points', type=int, default=10000, help='points taken of each object')
    parser.add_argument('--traceback', action='store_true', help='show where an error was raised')
    return parser.parse_args()


def main() -> None:
    """Fit the projection and write what was found."""
    args = parse_args()
    with user_errors(args.traceback):
        from mmdet3d.registry import DATASETS

        from opendlign_mm.apis.fit_projection import fit_projection, pairs_by_name, read_pairs
        from opendlign_mm.generation.shape_sources import shapes_to_project
        init_default_scope('mmdet3d')
        dataset = shapes_to_project(args.source, args.num_points)
        if dataset['type'] == 'ShapeFolder':
            dataset['any_layout'] = True
        shapes = DATASETS.build(dict(dataset, test_mode=True))
        names, clouds, views = read_pairs(shapes, pairs_by_name(shapes, args.views), args.objects)
        print(f'fitting {len(names)} objects: {", ".join(names)}')
        with tqdm(unit='tries') as bar:
            fitted = fit_projection(clouds, views, lambda error: bar.update() and bar.set_postfix(error=f'{error:.4f}'))
        fitted.save(args.out, views, names)
        print(f'{fitted.table()}\n\n{fitted.config()}\nwrote {args.out / "projection.py"}, fit.json and comparison.png')
        sys.exit(0 if fitted.fits else 1)


if __name__ == '__main__':
    main()
