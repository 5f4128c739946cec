"""Functions run in several real processes that talk over gloo."""
import multiprocessing
import os
import socket
import traceback
from collections.abc import Callable
from typing import Any

import torch
import torch.distributed as dist


def run_in_processes(function: Callable[[int], Any], processes: int, timeout: float = 120) -> list[Any]:
    """Return ``function(rank)`` of each process; an exception in one of them fails the test.

    The processes are forked, so that ``function`` may be local and nothing is imported again.
    """
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        port = free.getsockname()[1]
    context = multiprocessing.get_context('fork')
    queue = context.Queue()
    workers = [context.Process(target=_work, args=(function, rank, processes, port, queue), daemon=False)
               for rank in range(processes)]
    for worker in workers:
        worker.start()
    results = {}
    try:
        for _ in workers:
            rank, result, error = queue.get(timeout=timeout)
            assert error is None, f'process {rank}: {error}'
            results[rank] = result
        for worker in workers:
            worker.join(timeout)
    finally:
        for worker in workers:
            if worker.is_alive():
                worker.kill()
    return [results[rank] for rank in range(processes)]


def _work(function: Callable[[int], Any], rank: int, processes: int, port: int, queue) -> None:
    os.environ.update(MASTER_ADDR='127.0.0.1', MASTER_PORT=str(port), RANK=str(rank), LOCAL_RANK=str(rank),
                      WORLD_SIZE=str(processes), LOCAL_WORLD_SIZE=str(processes))
    torch.set_num_threads(1)
    try:
        dist.init_process_group('gloo', rank=rank, world_size=processes)
        result, error = function(rank), None
        dist.barrier()
        dist.destroy_process_group()
    except BaseException:
        result, error = None, traceback.format_exc()
    queue.put((rank, result, error))
