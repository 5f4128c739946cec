#!/usr/bin/env python
"""Render the meshes of a dataset in color by the cameras of their depth views, and project these (table 5).

    python tools/render_images.py ShapeNetCore.v2/ data/shapenet_rendered --workers 8
    python tools/render_images.py built-in:20 data/built_in_rendered --resolution 112
    python tools/train.py configs/alignment/opendlign_h14_depth_rendcad.py --cfg-options \
        images_root=data/shapenet_rendered

DST gets depth views and renderings, as tools/generate_images.py writes depth views and generated images. After an
interruption run it again: it makes only what is missing.
"""
import argparse

from opendlign_mm.command_line.projecting import add_projection_options, project_shapes
from opendlign_mm.command_line.user_errors import user_errors
from opendlign_mm.processes import finish


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_projection_options(parser)
    parser.add_argument('--samples', type=int, default=2, help='rays along each side of a pixel')
    parser.add_argument('--background', type=int, nargs=3, default=[255, 255, 255], metavar=('R', 'G', 'B'),
                        help='color around the object; default: white')
    return parser.parse_args()


def main() -> None:
    """Run the depth stage with renderings."""
    args = parse_args()
    with user_errors(args.traceback):
        problems = project_shapes(args, dict(samples=args.samples, background=args.background))
        finish(problems, 'objects have no renderings', 'All others are done. Fix these and run the command again.')


if __name__ == '__main__':
    main()
