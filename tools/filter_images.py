#!/usr/bin/env python
"""Score generated images against the data set's texts with CLIP and mark which objects to keep.

    python tools/filter_images.py configs/generation/sd15_controlnet_depth.py --contact-sheet sheet.png

Nothing is deleted: scores, ranks and decisions go to the metadata, and DepthAlignDataset leaves out what is not kept.
"""
import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # works from a clone that is not installed

from mmengine.config import Config, DictAction  # noqa: E402
from mmengine.registry import init_default_scope  # noqa: E402

from opendlign_mm.apis.command_line import user_errors  # noqa: E402


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('config', help='the config that the images were made with; its `filter` and `out_dir` are used')
    parser.add_argument('--contact-sheet', type=Path, help='PNG of the worst and the best objects')
    parser.add_argument('--cfg-options', nargs='+', action=DictAction,
                        help='changes to the config as key=value, e.g. filter.max_rank=1')
    parser.add_argument('--launcher', choices=['none', 'pytorch', 'slurm'], default='none')
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0, help='set by some launchers')
    parser.add_argument('--traceback', action='store_true', help='show where an error was raised')
    return parser.parse_args()


def main() -> None:
    """Run the filter stage."""
    args = parse_args()
    with user_errors(args.traceback):
        from opendlign_mm.datasets.store import ShapeStore
        from opendlign_mm.generation.image_filter import contact_sheet, filter_store, summary
        from opendlign_mm.generation.work_split import join_processes, leave_processes, say
        if not Path(args.config).is_file():
            raise FileNotFoundError(f'config {args.config} does not exist; configs/generation/ holds some')
        cfg = Config.fromfile(args.config)
        cfg.merge_from_dict(args.cfg_options or {})
        if cfg.get('filter') is None:
            raise ValueError(f'{args.config} has no `filter`')
        init_default_scope('mmdet3d')
        device = join_processes(args.launcher)
        store = ShapeStore(cfg.out_dir)
        filter_store(store, device=device, **cfg.filter.to_dict())
        leave_processes()
        say(summary(store))
        if args.contact_sheet:
            say(str(contact_sheet(store, args.contact_sheet)))


if __name__ == '__main__':
    main()
