"""Trainings in processes that are killed, forked from one that has imported everything."""
import multiprocessing
import os
import signal
import sys
import time
from multiprocessing import forkserver
from pathlib import Path
from unittest import mock

import torch
from mmengine.fileio import LocalBackend
from mmengine.hooks import Hook
from mmengine.runner import Runner

from helpers.light_process import lighten_process
from helpers.tiny_runs import tiny_config, tiny_model

if 'PRELOAD_FOR_TRAINING' in os.environ:  # what each process would import for seconds
    tiny_model()
    lighten_process()

EPOCHS = 3


class Progress(Hook):
    """Notes the start of the training and its end in a file."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def before_train_iter(self, runner, **_) -> None:
        self.mark.touch()


def train(work_dir: str, workers: int = 0) -> None:
    """Train in this process, resuming from what an earlier one has left."""
    torch.set_num_threads(1)
    config = tiny_config(work_dir, epochs=EPOCHS, workers=workers)
    config.default_hooks.checkpoint = dict(type='AtomicCheckpointHook', interval=1, max_keep_ckpts=2)
    config.update(resume=True, experiment_name=f'{work_dir} {time.time_ns()}')
    runner = Runner.from_cfg(config)
    runner.register_hook(Progress(Path(work_dir) / 'mark'))
    runner.train()


class Training:
    """A training in a process of its own.

    Args:
        work_dir: Work directory.
        renaming: Number of the renaming of a file before or, if odd, after which the process kills itself (number / 2,
            rounded down); None: at none.
        writing: Number of the checkpoint at half of whose bytes the process kills itself; None: at none.
        workers: Data workers.
    """

    def __init__(self, work_dir: Path, renaming: int | None = None, writing: int | None = None,
                 workers: int = 0) -> None:
        context = multiprocessing.get_context('forkserver')
        context.set_forkserver_preload(['helpers.training_workers'])
        # Python 3.11 does not hand sys.path to the server.
        with mock.patch.dict(os.environ, PRELOAD_FOR_TRAINING='1', PYTHONPATH=os.pathsep.join(sys.path)):
            forkserver.ensure_running()
        self.mark = work_dir / 'mark'
        self.mark.unlink(missing_ok=True)
        self.process = context.Process(target=_work, args=(str(work_dir), renaming, writing, workers))
        self.process.start()

    def wait_for_first_iteration(self) -> None:
        while self.process.is_alive() and not self.mark.exists():
            time.sleep(.005)

    def kill(self) -> None:
        if self.process.is_alive():
            os.kill(self.process.pid, signal.SIGKILL)
        self.process.join(60)

    def join(self) -> int:
        self.process.join(120)
        return self.process.exitcode


def _work(work_dir: str, renaming: int | None, writing: int | None, workers: int) -> None:
    if renaming is not None:
        _die_at_renaming(renaming)
    if writing is not None:
        _die_at_writing(writing)
    train(work_dir, workers)


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _die_at_renaming(number: int) -> None:
    calls, replace = [], os.replace

    def replace_or_die(*paths):
        calls.append(paths)
        last = len(calls) - 1 == number // 2
        if last and number % 2 == 0:
            _die()
        replace(*paths)
        if last:
            _die()

    os.replace = replace_or_die


def _die_at_writing(number: int) -> None:
    calls, put = [], LocalBackend.put

    def put_or_die(backend, contents, path):
        calls.append(path)
        if len(calls) - 1 == number:
            put(backend, contents[:len(contents) // 2], path)
            _die()
        put(backend, contents, path)

    LocalBackend.put = put_or_die
