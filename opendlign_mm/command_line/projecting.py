"""What tools/project_depth.py and tools/render_images.py share: their options and the run of the depth stage."""
import argparse

from mmengine.config import DictAction
from mmengine.registry import init_default_scope

from .options import add_run_options


def add_projection_options(parser: argparse.ArgumentParser) -> None:
    """Add where shapes come from, where the store goes, and how they are projected."""
    parser.add_argument('source', metavar='SRC', help='folder of ShapeNetCore, or with one sub-folder of files for '
                        "each class; 'built-in', 'built-in:N' (N objects of each kind), or a config with `dataset`")
    parser.add_argument('out', metavar='DST', help='folder to write')
    parser.add_argument('--views', type=int, default=10, help='views of an object')
    parser.add_argument('--workers', type=int, default=2, help='processes that read and project')
    parser.add_argument('--resolution', type=int, default=224, help='height and width of a view')
    parser.add_argument('--projection', nargs='+', action=DictAction, default={},
                        help='further arguments of the projection, e.g. depth_bins=32')
    parser.add_argument('--num-points', type=int, default=10000, help='points taken of each object')
    parser.add_argument('--up-axis', choices=['y', 'z'], help='axis that points up in the files of a folder; default: '
                        'y in ShapeNetCore and glTF files, z in others')
    parser.add_argument('--layout', choices=['shards', 'folder'], default='shards',
                        help="WebDataset shards or the released dataset's folders")
    parser.add_argument('--shapes-per-shard', type=int, default=64, help='objects in a shard, the unit of work')
    add_run_options(parser)


def project_shapes(args: argparse.Namespace, renderings: dict | None = None) -> dict[str, str]:
    """Run the depth stage for these options.

    Args:
        args: Options of :func:`add_projection_options`.
        renderings: See :func:`.generation.depth_stage.project_depth`.

    Returns:
        sample_id -> why the object was not made.
    """
    from ..generation.depth_stage import project_depth
    from ..generation.shape_sources import say_doubt_about_up_axis, shapes_to_project
    from ..processes import join_processes
    init_default_scope('mmdet3d')
    join_processes(args.launcher)
    dataset = shapes_to_project(args.source, args.num_points, args.up_axis)
    say_doubt_about_up_axis(dataset, args.out)
    return project_depth(dataset, args.out, args.views, dict(args.projection, resolution=args.resolution), args.layout,
                         args.shapes_per_shard, args.workers, renderings)
