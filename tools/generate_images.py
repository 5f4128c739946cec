#!/usr/bin/env python
"""Generate depth-aligned images of depth views.

    python tools/generate_images.py configs/generation/sd15_controlnet_depth.py
    torchrun --nproc-per-node 8 tools/generate_images.py CONFIG
    tools/slurm_generate.sh PARTITION JOB_NAME CONFIG

After an interruption run it again, with any number of processes: it makes only what is missing.
"""
import argparse

from opendlign_mm.command_line.options import add_config_options, add_run_options, load_generation_config
from opendlign_mm.command_line.user_errors import user_errors
from opendlign_mm.processes import finish


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('config', help='a config of configs/generation/')
    add_config_options(parser, 'source=data/my_depth')
    parser.add_argument('--layout', choices=['shards', 'folder'],
                        help="WebDataset shards or the released dataset's folders; default: the config's")
    add_run_options(parser)
    return parser.parse_args()


def main() -> None:
    """Run the image stage."""
    args = parse_args()
    with user_errors(args.traceback):
        from opendlign_mm.generation.image_stage import generate_images
        from opendlign_mm.processes import join_processes
        cfg = load_generation_config(args)
        if args.layout:
            cfg.layout = args.layout
        finish(generate_images(cfg, join_processes(args.launcher)), 'objects have no images',
               'All others are done. Fix these and run the command again; only their shards are regenerated.')


if __name__ == '__main__':
    main()
