"""Processes of the image stage as a launcher starts them, but forked from a process that has imported everything."""
import multiprocessing
import os
import signal
import socket
import sys
from collections.abc import Sequence
from multiprocessing import forkserver
from pathlib import Path
from unittest import mock

import torch
from mmdet3d.registry import MODELS
from mmengine.registry import init_default_scope

from helpers import tiny_generation  # noqa: F401  # registers SlowStandIn
from helpers.light_process import lighten_process
from opendlign_mm.generation.image_stage import generate_images
from opendlign_mm.processes import join_processes, leave_processes

if 'PRELOAD_FOR_WORKERS' in os.environ:  # what each process would import for seconds
    import diffusers
    import pyarrow.parquet  # noqa: F401
    import webdataset  # noqa: F401
    init_default_scope('mmdet3d')
    MODELS.build(dict(type='SlowStandIn'))  # imports mmdet3d's models
    assert diffusers.StableDiffusionControlNetPipeline and diffusers.DDIMScheduler
    lighten_process()


def forkserver_context():
    """Return a multiprocessing context whose server has imported what the processes need."""
    context = multiprocessing.get_context('forkserver')
    context.set_forkserver_preload(['helpers.generation_workers'])
    # Python 3.11 does not hand sys.path to the server.
    with mock.patch.dict(os.environ, PRELOAD_FOR_WORKERS='1', PYTHONPATH=os.pathsep.join(sys.path)):
        forkserver.ensure_running()
    return context


def free_port() -> int:
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        return free.getsockname()[1]


class Workers:
    """Some processes of the image stage.

    Args:
        config: Config of the stage.
        folder: Folder for a file of each process, written when its generator is first called and by its error.
        count: Number of processes.
        renames: For each process when it kills itself: 2 n before and 2 n + 1 after its n-th renaming of a file; -1
            never.
    """

    def __init__(self, config: dict, folder: Path, count: int = 2, renames: Sequence[int] = ()) -> None:
        context = forkserver_context()
        self.marks = [folder / f'mark{rank}' for rank in range(count)]
        for mark in self.marks:
            mark.unlink(missing_ok=True)
        renames, port = list(renames) or [-1] * count, free_port()
        self.processes = [context.Process(target=_work, args=(config, rank, count, port, str(mark), rename))
                          for rank, (mark, rename) in enumerate(zip(self.marks, renames))]
        for process in self.processes:
            process.start()

    @property
    def all_alive(self) -> bool:
        return all(process.is_alive() for process in self.processes)

    @property
    def working(self) -> bool:
        """Return whether a generator was called."""
        return any(mark.exists() for mark in self.marks)

    def kill(self, ranks: Sequence[int]) -> None:
        for rank in ranks:
            if self.processes[rank].is_alive():
                os.kill(self.processes[rank].pid, signal.SIGKILL)

    def join(self) -> list[int]:
        """Return the exit codes."""
        for process in self.processes:
            process.join(120)
        return [process.exitcode for process in self.processes]


def _work(config: dict, rank: int, count: int, port: int, mark: str, rename: int) -> None:
    torch.set_num_threads(1)
    os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(count), MASTER_ADDR='127.0.0.1',
                      MASTER_PORT=str(port), CUDA_VISIBLE_DEVICES='', STAND_IN_MARK=mark)
    join_processes('pytorch')
    if rename >= 0:
        _die_at_renaming(rename)
    try:
        generate_images(config)
    except RuntimeError as error:
        Path(mark).write_text(str(error))
        raise SystemExit(2) from None
    leave_processes()


def _die_at_renaming(number: int) -> None:
    """Kill this process (SIGKILL) at a renaming, by which all files and folders appear."""
    calls = []

    def deadly(rename):
        def rename_or_die(*paths):
            calls.append(paths)
            last = len(calls) - 1 == number // 2
            if last and number % 2 == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            rename(*paths)
            if last:
                os.kill(os.getpid(), signal.SIGKILL)
        return rename_or_die

    os.replace, os.rename = deadly(os.replace), deadly(os.rename)
