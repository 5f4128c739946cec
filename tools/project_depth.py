#!/usr/bin/env python
"""Project the point clouds or meshes of a dataset to depth views.

    python tools/project_depth.py shapes/ data/my_depth --workers 8 --up-axis y
    python tools/project_depth.py ShapeNetCore.v2/ data/shapenet_depth --workers 8
    python tools/project_depth.py built-in:20 data/built_in_depth --resolution 112
    python tools/project_depth.py my_data.py data/my_depth            # a config with `dataset = dict(type=...)`

After an interruption run it again: it makes only what is missing.
"""
import argparse

from mmengine.config import DictAction
from mmengine.registry import init_default_scope

from opendlign_mm.command_line.options import add_run_options
from opendlign_mm.command_line.user_errors import user_errors
from opendlign_mm.processes import finish


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('source', metavar='SRC', help='folder of ShapeNetCore, or with one sub-folder of files for '
                        "each class; 'built-in', 'built-in:N' (N objects of each kind), or a config with `dataset`")
    parser.add_argument('out', metavar='DST', help='folder to write')
    parser.add_argument('--views', type=int, default=10, help='views of an object')
    parser.add_argument('--workers', type=int, default=2, help='processes that read and project')
    parser.add_argument('--resolution', type=int, default=224, help='height and width of a depth view')
    parser.add_argument('--projection', nargs='+', action=DictAction, default={},
                        help='further arguments of the projection, e.g. depth_bins=32')
    parser.add_argument('--num-points', type=int, default=10000, help='points taken of each object')
    parser.add_argument('--up-axis', choices=['y', 'z'], help='axis that points up in the files of a folder; default: '
                        'y in ShapeNetCore and glTF files, z in others')
    parser.add_argument('--layout', choices=['shards', 'folder'], default='shards',
                        help="WebDataset shards or the released dataset's folders")
    parser.add_argument('--shapes-per-shard', type=int, default=64, help='objects in a shard, the unit of work')
    add_run_options(parser)
    return parser.parse_args()


def main() -> None:
    """Run the depth stage."""
    args = parse_args()
    with user_errors(args.traceback):
        from opendlign_mm.generation.depth_stage import project_depth
        from opendlign_mm.generation.shape_sources import say_doubt_about_up_axis, shapes_to_project
        from opendlign_mm.processes import join_processes
        init_default_scope('mmdet3d')
        join_processes(args.launcher)
        dataset = shapes_to_project(args.source, args.num_points, args.up_axis)
        say_doubt_about_up_axis(dataset, args.out)
        problems = project_depth(dataset, args.out, args.views, dict(args.projection, resolution=args.resolution),
                                 args.layout, args.shapes_per_shard, args.workers)
        finish(problems, 'objects have no depth views', 'All others are done. Fix these and run the command again.')


if __name__ == '__main__':
    main()
