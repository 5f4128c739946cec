"""Command-line options shared by the tools, and the config they produce."""
import argparse
import os
from pathlib import Path

from mmengine.config import Config, DictAction
from mmengine.registry import init_default_scope
from torch import nn

from ..compat import prepare_cpu_distributed


def add_common_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that every mmdet3d tool has."""
    parser.add_argument('--work-dir', help='directory for logs and checkpoints; default work_dirs/<name of the config>')
    parser.add_argument('--cfg-options', nargs='+', action=DictAction,
                        help='changes to the config as key=value, e.g. train_cfg.max_epochs=2; lists as key="[a,b]" or '
                        'key=a,b, without blanks; data_root=DIR moves all paths below the config\'s data_root')
    parser.add_argument('--launcher', choices=['none', 'pytorch', 'slurm', 'mpi'], default='none',
                        help='what started this process; tools/dist_*.sh and tools/slurm_*.sh set it')
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0, help='set by some launchers')
    parser.add_argument('--traceback', action='store_true', help='show where an error was raised')


def load_config(args: argparse.Namespace) -> Config:
    """Read ``args.config`` and apply the common options.

    Raises:
        FileNotFoundError: There is no such file.
    """
    if not Path(args.config).is_file():
        raise FileNotFoundError(f'config {args.config} does not exist; configs/ holds the ones of this project')
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    cfg = Config.fromfile(args.config)
    for name, value in (args.cfg_options or {}).items():
        move_path(cfg, name, value)
    cfg.merge_from_dict(args.cfg_options or {})
    if args.work_dir:
        cfg.work_dir = args.work_dir
    elif cfg.get('work_dir') is None:
        cfg.work_dir = os.path.join('work_dirs', Path(args.config).stem)
    cfg.launcher = args.launcher
    prepare_cpu_distributed(cfg, args.launcher)
    return cfg


def move_path(cfg: Config, name: str, value: str | None) -> None:
    """Carry a new value of a path variable (``data_root``, ``cache_dir``) to all values that were made from the old.

    A config computes ``ann_file=data_root + 'infos.pkl'`` when it is read; an option that comes later would change
    ``data_root`` alone.

    Args:
        cfg: Changed in place: strings that are the old path or lie below it.
        name: Name of the option; anything but a top-level variable ``*_root`` or ``*_dir`` is left alone.
        value: The new path; None puts None in place of the path itself.
    """
    old = cfg.get(name) if name.endswith(('_root', '_dir')) and name != 'work_dir' else None
    if not isinstance(old, str) or not old:
        return
    old, new = old.rstrip('/'), None if value is None else str(value).rstrip('/')

    def moved(node):
        if isinstance(node, dict):
            return {key: moved(item) for key, item in node.items()}
        if isinstance(node, (list, tuple)):
            return type(node)(moved(item) for item in node)
        if not isinstance(node, str) or node.rstrip('/') != old and not node.startswith(f'{old}/'):
            return node
        return None if new is None else new + node[len(old):]

    cfg.merge_from_dict({key: item for key, item in moved(cfg.to_dict()).items()})


def describe_model(model: nn.Module) -> str:
    """One line: the CLIP inside, where there is one, and how many parameters are trained."""
    trained = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    total = sum(parameter.numel() for parameter in model.parameters())
    clips = [module.clip_name for module in model.modules() if hasattr(module, 'clip_name')]
    return f'CLIP: {", ".join(clips) or "none"}; parameters trained: {trained:,} of {total:,}'


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


def load_generation_config(path: str, options: dict | None) -> Config:
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
