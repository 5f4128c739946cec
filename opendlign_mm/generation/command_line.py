"""What the tools of the generation stages share."""
import argparse
from pathlib import Path
from typing import Dict, Optional

from mmengine import dist
from mmengine.config import Config, DictAction
from mmengine.registry import init_default_scope

from .processes import leave_processes


def add_config_options(parser: argparse.ArgumentParser, example: str) -> None:
    """Add ``config`` and ``--cfg-options``."""
    parser.add_argument('config', help='a config of configs/generation/')
    parser.add_argument('--cfg-options', nargs='+', action=DictAction,
                        help=f'changes to the config as key=value, e.g. {example}')


def add_run_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that say how a process was started."""
    parser.add_argument('--launcher', choices=['none', 'pytorch', 'slurm'],
                        help='what started this process; torchrun is noticed, tools/slurm_generate.sh sets slurm')
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0, help='set by some launchers')
    parser.add_argument('--traceback', action='store_true', help='show where an error was raised')


def load_generation_config(path: str, options: Optional[dict]) -> Config:
    """The config with the options of the command line.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is no config of image generation.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f'config {path} does not exist; configs/generation/ holds some')
    cfg = Config.fromfile(path)
    cfg.merge_from_dict(options or {})
    absent = [key for key in ('source', 'out_dir', 'generator') if cfg.get(key) is None]
    if absent:
        raise ValueError(f'{path} has no {", ".join(absent)}; configs/generation/ holds configs of image generation')
    init_default_scope('mmdet3d')
    return cfg


def finish(problems: Dict[str, str], what: str, remedy: str) -> None:
    """Leave the other processes; the first one raises the problems of all.

    Args:
        problems: sample_id -> why it was left out.
        what: Follows their number, e.g. 'objects have no images'.
        remedy: What to do.

    Raises:
        ValueError: There are problems.
    """
    is_first = dist.get_rank() == 0
    leave_processes()
    if problems and is_first:
        raise ValueError('\n  '.join([f'{len(problems)} {what}:', *list(problems.values())[:10]] +
                                     ['...'] * (len(problems) > 10) + [remedy]))
