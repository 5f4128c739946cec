#!/usr/bin/env python
"""Project the point clouds or meshes of a dataset to depth views.

    python tools/project_depth.py shapes/ data/my_depth --workers 8 --up-axis y
    python tools/project_depth.py ShapeNetCore.v2/ data/shapenet_depth --workers 8
    python tools/project_depth.py built-in:20 data/built_in_depth --resolution 112
    python tools/project_depth.py my_data.py data/my_depth            # a config with `dataset = dict(type=...)`

After an interruption run it again: it makes only what is missing.
"""
import argparse

from opendlign_mm.command_line.projecting import add_projection_options, project_shapes
from opendlign_mm.command_line.user_errors import user_errors
from opendlign_mm.processes import finish


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_projection_options(parser)
    return parser.parse_args()


def main() -> None:
    """Run the depth stage."""
    args = parse_args()
    with user_errors(args.traceback):
        problems = project_shapes(args)
        finish(problems, 'objects have no depth views', 'All others are done. Fix these and run the command again.')


if __name__ == '__main__':
    main()
