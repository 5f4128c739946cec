#!/usr/bin/env python
"""Score generated images with CLIP among the dataset's texts and decide which objects to keep.

    python tools/filter_images.py configs/generation/sd15_controlnet_depth.py --contact-sheet sheet.png

Nothing is deleted: scores, ranks and decisions are added to the metadata, and DepthAlignDataset skips what is not kept.
"""
import argparse
from pathlib import Path

from opendlign_mm.command_line.options import add_config_options, add_run_options, load_generation_config
from opendlign_mm.command_line.user_errors import user_errors


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('config', help='a config of configs/generation/')
    add_config_options(parser, 'filter.max_rank=1 out_dir=data/my_images')
    parser.add_argument('--contact-sheet', type=Path, metavar='PNG',
                        help='draw the objects with the lowest and the highest scores')
    parser.add_argument('--keep-list', type=Path, metavar='FILE',
                        help='write the names of the kept objects, one a line')
    add_run_options(parser)
    return parser.parse_args()


def main() -> None:
    """Run the filter stage."""
    args = parse_args()
    with user_errors(args.traceback):
        from opendlign_mm.datasets.store import ShapeStore
        from opendlign_mm.generation.filter_stage import contact_sheet, filter_store, summary, write_keep_list
        from opendlign_mm.processes import join_processes, leave_processes, on_first_process, say
        cfg = load_generation_config(args)
        if cfg.get('filter') is None:
            raise ValueError(f'{args.config} has no `filter`; configs/_base_/generation_defaults.py shows one')
        device = join_processes(args.launcher)
        store = on_first_process(lambda: ShapeStore(cfg.out_dir))
        filter_store(store, device=device, **cfg.filter.to_dict())
        say(on_first_process(lambda: summary(store)))
        if args.contact_sheet:
            say(str(on_first_process(lambda: contact_sheet(store, args.contact_sheet))))
        if args.keep_list:
            count = on_first_process(lambda: write_keep_list(store, args.keep_list))
            say(f'{args.keep_list}: {count} objects')
        leave_processes()


if __name__ == '__main__':
    main()
