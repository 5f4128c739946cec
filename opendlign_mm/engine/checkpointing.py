"""Work directories of trainings: checkpoints that survive any interruption, and one training at a time."""
import datetime
import fcntl
import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import IO, Any

from mmdet3d.registry import HOOKS
from mmengine.dist import is_main_process
from mmengine.fileio import LocalBackend
from mmengine.hooks import CheckpointHook
from mmengine.logging import print_log
from mmengine.runner import Runner
from mmengine.runner.base_loop import BaseLoop

from ..atomic_files import atomic_write
from ..models.checkpoints import UnreadableCheckpointError, read_checkpoint
from ..processes import on_first_process

LOCK_NAME = '.training.lock'
LAST_NAME = 'last_checkpoint'
# What a resumed training needs; published or best checkpoints do not have it.
_NEEDED = ('meta', 'state_dict', 'message_hub', 'optimizer')
_held: dict[Path, tuple[IO[str], int]] = {}


def _forget_locks() -> None:
    for stream, _ in _held.values():
        stream.close()
    _held.clear()


# Data workers outlive a killed training by seconds and must not keep its lock.
os.register_at_fork(after_in_child=_forget_locks)


@contextmanager
def work_dir_lock(work_dir: str | Path) -> Iterator[None]:
    """Keep other processes from training in a work directory during the block.

    The lock belongs to the process: it ends with it, however it dies, also where data workers live on, and the process
    itself may take it several times. A file system without locks counts as free.

    Raises:
        RuntimeError: Another process holds the lock; the message says which.
    """
    _acquire(Path(work_dir).resolve() / LOCK_NAME)
    try:
        yield
    finally:
        _release(Path(work_dir).resolve() / LOCK_NAME)


def _acquire(path: Path) -> None:
    if path in _held:
        stream, count = _held[path]
        _held[path] = stream, count + 1
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    stream = path.open('a+')
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        stream.seek(0)
        holder = stream.read().strip() or 'another process'
        stream.close()
        raise RuntimeError(f'{path.parent} is the work directory of a running training ({holder}); wait until it ends, '
                           'stop it, or give another --work-dir') from None
    except OSError:
        pass  # no locks here
    stream.truncate(0)
    stream.write(f'host {socket.gethostname()}, process {os.getpid()}, since '
                 f'{datetime.datetime.now().isoformat(" ", "seconds")}\n')
    stream.flush()
    _held[path] = stream, 1


def _release(path: Path) -> None:
    stream, count = _held.pop(path)
    if count > 1:
        _held[path] = stream, count - 1
    else:
        stream.close()


def latest_checkpoint(work_dir: str | Path, folder: str | Path | None = None) -> Path | None:
    """Find the newest checkpoint of a training that can be resumed.

    That is the one named by the file ``last_checkpoint``, also if the work directory has been moved. If that file is
    damaged or names a damaged checkpoint, it is the newest other one that can be read, with a warning.

    Args:
        work_dir: Work directory of the training.
        folder: Folder of its checkpoints, by default the work directory.

    Returns:
        The checkpoint; None if there are none.

    Raises:
        ValueError: There are checkpoints, but none can be read.
    """
    work_dir = Path(work_dir)
    folder = work_dir if folder is None else Path(folder)
    named = _named_checkpoint(work_dir / LAST_NAME, folder)
    others = sorted((path for path in folder.glob('*.pth') if not path.name.startswith(('best_', '.'))),
                    key=lambda path: path.stat().st_mtime_ns, reverse=True)
    problems: list[str] = []
    for path in dict.fromkeys([*filter(None, [named]), *others]):
        try:
            absent = [key for key in _NEEDED if key not in read_checkpoint(path, mmap=True)]
        except (UnreadableCheckpointError, OSError) as error:
            problems.append(str(error))
            continue
        if absent:  # such as a checkpoint that was converted into this folder
            problems += [f'{path} has no {", ".join(absent)}'] * (path == named)
            continue
        if problems:
            print_log('the newest checkpoint cannot be resumed:\n  ' + '\n  '.join(problems)
                      + f'\nresuming from {path} instead', 'current', logging.WARNING)
        return path
    if problems:
        raise ValueError('no checkpoint can be resumed:\n  ' + '\n  '.join(problems)
                         + f'\nremove them from {folder} to train from the beginning')
    return None


def _named_checkpoint(file: Path, folder: Path) -> Path | None:
    """Return the checkpoint in ``folder`` that a file ``last_checkpoint`` names."""
    try:
        text = file.read_text().strip()
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError):
        text = ''
    path = folder / Path(text).name
    if text and '\0' not in text and path.is_file():
        return path
    print_log(f'{file} does not name a checkpoint; looking for the newest one in {folder}', 'current', logging.WARNING)
    return None


@HOOKS.register_module()
class AtomicCheckpointHook(CheckpointHook):
    """mmengine's ``CheckpointHook`` for trainings that may be interrupted at any time.

    Checkpoints and ``last_checkpoint`` are written under a temporary name, flushed to the disk and renamed, and older
    checkpoints are removed only afterwards. A run with ``resume`` and without ``load_from`` continues from
    :func:`latest_checkpoint`. One training at a time has the work directory, see :func:`work_dir_lock`; all processes
    of a distributed training share it. Checkpoints in object stores are written as mmengine does.

    Args:
        kwargs: Arguments of ``CheckpointHook``.
    """

    def before_run(self, runner: Runner) -> None:
        """Take the work directory for a training, and find the checkpoint to resume from."""
        if not isinstance(runner._train_loop, BaseLoop):  # a test leaves the loop of training unbuilt
            return
        self._lock_path = Path(runner.work_dir).resolve() / LOCK_NAME
        on_first_process(lambda: _acquire(self._lock_path))
        if runner._resume and runner._load_from is None:
            found = on_first_process(lambda: latest_checkpoint(runner.work_dir, self._folder(runner)))
            runner._resume, runner._load_from = found is not None, None if found is None else str(found)
            runner.logger.info(f'resuming from {found}' if found else
                               f'{runner.work_dir} has no checkpoint to resume from: training from the beginning')

    def after_run(self, runner: Runner) -> None:
        """Give the work directory back."""
        if getattr(self, '_lock_path', None) in _held:
            _release(self._lock_path)

    def before_train(self, runner: Runner) -> None:
        """Prepare as mmengine does, and remove unfinished checkpoints of interrupted runs."""
        super().before_train(runner)
        if not isinstance(self.file_backend, LocalBackend):
            return
        if is_main_process():
            for path in Path(self.out_dir).glob('.*.part*'):
                if path.name.startswith(('.epoch_', '.iter_', '.best_', f'.{LAST_NAME}')):
                    path.unlink(missing_ok=True)
        self._removals: list[str] = []
        self.file_backend = _LateRemovals(self.file_backend, self._removals)
        if not isinstance(runner.save_checkpoint, partial):
            runner.save_checkpoint = partial(_save_atomically, runner.save_checkpoint)

    def _folder(self, runner: Runner) -> str:
        return runner.work_dir if self.out_dir is None else os.path.join(self.out_dir, Path(runner.work_dir).name)

    def _save_checkpoint_with_step(self, runner: Runner, step: int, meta: dict) -> None:
        if not isinstance(self.file_backend, _LateRemovals):
            super()._save_checkpoint_with_step(runner, step, meta)
            return
        if self.max_keep_ckpts > 0 and (not self.keep_ckpt_ids or self.keep_ckpt_ids[-1] != step):
            if len(self.keep_ckpt_ids) == self.max_keep_ckpts:
                name = self.filename_tmpl.format(self.keep_ckpt_ids.popleft())
                self.file_backend.remove(os.path.join(self.out_dir, name))
            self.keep_ckpt_ids.append(step)
            runner.message_hub.update_info('keep_ckpt_ids', list(self.keep_ckpt_ids))
        name = self.filename_tmpl.format(step)
        self.last_ckpt = os.path.join(self.out_dir, name)
        runner.message_hub.update_info('last_ckpt', self.last_ckpt)
        runner.save_checkpoint(
            self.out_dir, name, self.file_client_args, save_optimizer=self.save_optimizer,
            save_param_scheduler=self.save_param_scheduler, meta=meta, by_epoch=self.by_epoch,
            backend_args=self.backend_args, **self.args)
        if is_main_process():
            with atomic_write(Path(runner.work_dir) / LAST_NAME) as unfinished:
                unfinished.write_text(self.last_ckpt)
            self._remove_old(runner)

    def _save_best_checkpoint(self, runner: Runner, metrics: dict) -> None:
        super()._save_best_checkpoint(runner, metrics)
        if isinstance(self.file_backend, _LateRemovals) and is_main_process():
            self._remove_old(runner)

    def _remove_old(self, runner: Runner) -> None:
        for path in self._removals:
            if path != self.last_ckpt:
                Path(path).unlink(missing_ok=True)
        self._removals.clear()


class _LateRemovals:
    """File backend that notes files to remove instead of removing them."""

    def __init__(self, backend: LocalBackend, removals: list[str]) -> None:
        self._backend, self._removals = backend, removals

    def __getattr__(self, name: str) -> Any:
        return getattr(self._backend, name)

    def remove(self, path: str) -> None:
        self._removals.append(str(path))


def _save_atomically(save, out_dir: str, filename: str, *args, **kwargs) -> None:
    """Call ``save``, the ``save_checkpoint`` of a Runner, with a temporary name and rename the file."""
    if not is_main_process():
        save(out_dir, filename, *args, **kwargs)
        return
    with atomic_write(Path(out_dir) / filename) as unfinished:
        save(out_dir, unfinished.name, *args, **kwargs)
