"""What ``tools/train.py`` and ``tools/test.py`` share: options, the config they lead to, errors meant for the user."""
import argparse
import os
import re
import sys
import traceback
from contextlib import contextmanager
from pathlib import Path
from typing import Iterator, Optional, Tuple

import mmengine
from mmengine.config import Config, DictAction
from torch import nn

from ..compat import prepare_cpu_distributed

_PACKAGE = Path(__file__).resolve().parents[1]
_MMENGINE = Path(mmengine.__file__).resolve().parent
_OWN = (_PACKAGE, _PACKAGE.parent / 'tools')
# mmengine raises from these where a name, a file or an option of the user's is wrong.
_USER_FACING = (*_OWN, _MMENGINE / 'config', _MMENGINE / 'registry', _MMENGINE / 'runner' / 'checkpoint.py',
                _MMENGINE / 'fileio')


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


def move_path(cfg: Config, name: str, value: Optional[str]) -> None:
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


@contextmanager
def user_errors(show_traceback: bool = False) -> Iterator[None]:
    """Print an error that was raised for the user (a missing file, a wrong argument) as one message and exit with 2.

    An error counts as such when it is about a file that is not there, or was raised by this project's own checks or by
    mmengine's on configs, names and checkpoints. An error of a library that this project words anew (``raise ... from
    error``) counts, too. Any other error keeps its traceback: it is a defect to report.

    Args:
        show_traceback: Print the traceback of those, too.
    """
    try:
        yield
    except (OSError, ValueError, TypeError, KeyError, RuntimeError, AssertionError, ImportError) as error:
        message = None if show_traceback else _message_for_the_user(error)
        if message is None:
            raise
        print(f'\nerror: {message}\n(--traceback shows where it was raised)', file=sys.stderr)
        sys.exit(2)


def _message_for_the_user(error: BaseException) -> Optional[str]:
    """The message of an error that was raised for the user; None for a defect."""
    message = str(error.args[0] if isinstance(error, KeyError) and error.args else error)
    if ' in DataLoader worker process ' in message:
        # PyTorch hands over an error of a data worker as the text of its traceback.
        origin = re.findall(r'^  File "(.+)", line', message, re.MULTILINE)[-1]
        message = re.split(rf'^{type(error).__name__}: ', message, flags=re.MULTILINE)[-1].strip()
    elif isinstance(error, (FileNotFoundError, NotADirectoryError, IsADirectoryError, PermissionError)):
        return message
    else:
        # Registries raise errors again: look at the first one, or at the last that this project worded anew.
        while error.__cause__ or error.__context__:
            if error.__suppress_context__ and _is_in(_origin_of(error), _OWN):
                break
            error = error.__cause__ or error.__context__
        origin = _origin_of(error)
    return message if _is_in(origin, _USER_FACING) else None


def _origin_of(error: BaseException) -> str:
    return traceback.extract_tb(error.__traceback__)[-1].filename


def _is_in(origin: str, places: Tuple[Path, ...]) -> bool:
    path = Path(origin).resolve()
    return any(place == path or place in path.parents for place in places)
