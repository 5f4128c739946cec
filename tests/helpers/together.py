"""Several real processes that a launcher would start, forked from one that has imported what they need."""
import json
import os
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch

from helpers.generation_workers import forkserver_context, free_port
from opendlign_mm import processes


class Outcome(NamedTuple):
    """Exit code of a process, its result as JSON, and its error."""
    code: int
    result: Any
    error: str


def run_together(work: Callable, count: int, folder: Path, *arguments, seconds: float = 60) -> list[Outcome]:
    """Run ``work(rank, *arguments)`` in processes of one group.

    Args:
        work: Function at the top of a module.
        count: Number of processes.
        folder: Folder for a file of each process.
        arguments: Further arguments, which are pickled.
        seconds: Time after which processes that hang are killed.
    """
    context, port = forkserver_context(), free_port()
    paths = [folder / f'process{rank}.json' for rank in range(count)]
    running = [context.Process(target=_run, args=(work, rank, count, port, str(path), arguments))
               for rank, path in enumerate(paths)]
    for process in running:
        process.start()
    for process in running:
        process.join(seconds)
        if process.is_alive():
            process.kill()
            process.join()
    return [Outcome(process.exitcode, *(json.loads(path.read_text()) if path.exists() else (None, 'none')))
            for process, path in zip(running, paths)]


def _run(work: Callable, rank: int, count: int, port: int, path: str, arguments: tuple) -> None:
    torch.set_num_threads(1)
    os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(count), MASTER_ADDR='127.0.0.1',
                      MASTER_PORT=str(port), CUDA_VISIBLE_DEVICES='')
    processes.join_processes('pytorch')
    result, error, code = None, '', 0
    try:
        result = work(rank, *arguments)
    except BaseException as raised:  # also SystemExit, with which processes end after an error of another one
        error, code = str(raised), raised.code if isinstance(raised, SystemExit) else 2
        traceback.print_exc()
    Path(path).write_text(json.dumps([result, error]))
    raise SystemExit(code)
