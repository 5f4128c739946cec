"""Dividing work among processes: joining them, locking the output folder, sharing results, reporting at the end."""
import datetime
import fcntl
import os
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import torch
import torch.distributed as torch_dist
from mmengine import dist
from mmengine.config import Config
from tqdm import tqdm

from .compat import detected_launcher, prepare_cpu_distributed

# Processes finish hours apart, and the first ones wait for the last.
_PATIENCE = datetime.timedelta(days=60)
# Seconds in which a file of one machine has to be visible on the others.
_TRIES = 10


def join_processes(launcher: Literal['none', 'pytorch', 'slurm', 'mpi'] | None = None) -> torch.device:
    """Join the processes that a launcher started.

    They exchange only small Python objects, on the CPU (gloo), even if they compute on GPUs.

    Args:
        launcher: The launcher; 'pytorch' is torchrun. None detects torchrun and is otherwise 'none': Slurm has to be
            named, since it sets its variables in interactive shells as well.

    Returns:
        The device of this process.
    """
    launcher = launcher or detected_launcher()
    if launcher != 'none' and not dist.is_distributed():
        if torch.cuda.is_available():
            dist.init_dist(launcher, backend='gloo', timeout=_PATIENCE.total_seconds())
        else:
            prepare_cpu_distributed(Config(), launcher, timeout=_PATIENCE)
    return torch.device('cuda', torch.cuda.current_device()) if torch.cuda.is_available() else torch.device('cpu')


def leave_processes() -> None:
    """Wait for all processes and end their group, if there is one. Each process then counts as rank 0."""
    if torch_dist.is_available() and torch_dist.is_initialized():
        of_all_processes(None)
        torch_dist.destroy_process_group()


def on_first_process(action: Callable[[], Any]) -> Any:
    """Call ``action`` on process 0 and return its result on all processes.

    An error is raised on process 0 only, so that it is reported once; the other processes exit.
    """
    outcome = [None, None]
    if dist.get_rank() == 0:
        try:
            outcome[0] = action()
        except Exception as error:
            outcome[1] = error
            if dist.get_world_size() == 1:
                raise
    with _others_may_have_died():
        dist.broadcast_object_list(outcome)
    if outcome[1] is not None:
        if dist.get_rank() == 0:
            raise outcome[1]
        raise SystemExit(2)
    return outcome[0]


def of_all_processes(value: Any) -> list[Any]:
    """Wait for all processes and return their values in the order of the ranks."""
    with _others_may_have_died():
        return dist.all_gather_object(value)


@contextmanager
def _others_may_have_died() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        problem = str(error)
    else:
        return
    raise RuntimeError(f'another process of this run has died; run the command again, which makes only what is missing '
                       f'({problem})')


@contextmanager
def only_run(root: Path) -> Iterator[None]:
    """Lock a folder for this run; fails while any process of another run is alive.

    Raises:
        RuntimeError: Another run is writing to the folder, or not all processes see the same folder.
    """
    def lock() -> str:
        root.mkdir(parents=True, exist_ok=True)
        held.append(open(path, 'a+'))
        for _ in range(20):  # data workers of a killed process live on for seconds
            if _flock(held[0], fcntl.LOCK_EX):
                token = uuid.uuid4().hex
                held[0].truncate(0)
                held[0].write(token)
                held[0].flush()
                os.fsync(held[0].fileno())
                if _flock(held[0], fcntl.LOCK_SH):
                    return token
            time.sleep(1)
        raise RuntimeError(f'another run is writing to {root}; wait until it ends or stop it')

    path, held = root / '.lock', []
    try:
        token = on_first_process(lock)
        blind = [name for name in of_all_processes(None if _reads(path, token) else process_name()) if name]
        on_first_process(lambda: _check_shared(root, blind))
        if not held:  # the other processes share the lock that the first one took
            held.append(open(path))
            _flock(held[0], fcntl.LOCK_SH)
        yield
    finally:
        for stream in held:
            stream.close()


def _reads(path: Path, token: str) -> bool:
    """Return whether a file has this text; a network disk may show it only after seconds."""
    for attempt in range(_TRIES):
        try:
            if path.read_text() == token:
                return True
        except OSError:
            pass
        if attempt + 1 < _TRIES:
            time.sleep(1)
    return False


def _check_shared(root: Path, blind: Sequence[str]) -> None:
    if blind:
        raise RuntimeError(f'{", ".join(blind)} cannot see the files that {process_name()} writes to {root}; all '
                           'processes need one folder on a disk that their machines share')


def _flock(stream, kind: int) -> bool:
    """Try to lock a file; a file system without locks counts as success."""
    try:
        fcntl.flock(stream, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        pass
    return True


def own_share(shards: list[int]) -> list[int]:
    """Return the shards of this process: every n-th missing one, which balances resumed runs as well."""
    return shards[dist.get_rank()::dist.get_world_size()]


def progress(items: Sequence | None = None, **options) -> tqdm:
    """Show a progress bar on process 0; bars of several processes would overwrite each other."""
    return tqdm(items, leave=False, disable=dist.get_rank() > 0, **options)


def say(text: str) -> None:
    """Print a line on process 0."""
    if dist.get_rank() == 0:
        print(text, file=sys.stdout, flush=True)


def process_name() -> str:
    """Return the name of this process for the log."""
    return f'process {dist.get_rank() + 1} of {dist.get_world_size()} ({os.uname().nodename})'


def finish(problems: dict[str, str], what: str, remedy: str) -> None:
    """Leave the other processes, then raise the problems of all processes on the first one.

    Args:
        problems: sample_id -> why the object was skipped.
        what: Text after the number of problems, e.g. 'objects have no images'.
        remedy: What to do.

    Raises:
        ValueError: There are problems.
    """
    is_first = dist.get_rank() == 0
    leave_processes()
    if problems and is_first:
        raise ValueError('\n  '.join([f'{len(problems)} {what}:', *list(problems.values())[:10]] +
                                     ['...'] * (len(problems) > 10) + [remedy]))
