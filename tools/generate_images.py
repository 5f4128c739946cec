#!/usr/bin/env python
"""Generate depth-aligned images of a data set's depth views.

    python tools/generate_images.py configs/generation/sd15_controlnet_depth.py
    torchrun --nproc-per-node 8 tools/generate_images.py CONFIG --launcher pytorch
    tools/slurm_generate.sh PARTITION JOB_NAME CONFIG

Run it again after an interruption, with as many processes as you like: it makes only what is missing.
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
    parser.add_argument('config', help='a config of configs/generation/')
    parser.add_argument('--layout', choices=['shards', 'folder'],
                        help="WebDataset shards or the released data set's folders; default the config's")
    parser.add_argument('--cfg-options', nargs='+', action=DictAction, help='changes to the config as key=value')
    parser.add_argument('--launcher', choices=['none', 'pytorch', 'slurm'], default='none')
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0, help='set by some launchers')
    parser.add_argument('--traceback', action='store_true', help='show where an error was raised')
    return parser.parse_args()


def load(args: argparse.Namespace) -> Config:
    """The config with the options of the command line."""
    if not Path(args.config).is_file():
        raise FileNotFoundError(f'config {args.config} does not exist; configs/generation/ holds some')
    cfg = Config.fromfile(args.config)
    cfg.merge_from_dict(args.cfg_options or {})
    if args.layout:
        cfg.layout = args.layout
    init_default_scope('mmdet3d')
    return cfg


def main() -> None:
    """Run the image stage."""
    args = parse_args()
    with user_errors(args.traceback):
        from opendlign_mm.generation.image_stage import generate_images
        from opendlign_mm.generation.work_split import join_processes, leave_processes
        cfg = load(args)
        problems = generate_images(cfg, join_processes(args.launcher))
        leave_processes()
        if problems:
            raise ValueError('\n  '.join(
                [f'{len(problems)} objects have no images:', *list(problems.values())[:10]] +
                ['...'] * (len(problems) > 10) +
                ['All others are done. Mend these and run the command again, which makes only their shards.']))


if __name__ == '__main__':
    main()
