"""Preparing the next part of a work in a thread, while the caller uses the present one."""
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import torch
from torch import Tensor

Item = TypeVar('Item')


def one_ahead(prepare: Callable[[Item], Tensor], items: Sequence[Item], device: torch.device) -> Iterator[Tensor]:
    """Yield ``prepare(item)`` of each item, in order; the next one is prepared while the caller uses one.

    A thread prepares, on a GPU in a stream of its own, so that waits of the host in one work do not stop the other. An
    error of ``prepare`` is raised in the place of its result. A caller that may leave early closes the iterator
    (``contextlib.closing``), which waits for what is being prepared.

    Args:
        prepare: Function that makes a tensor on ``device``. It runs with gradients and inference mode switched as for
            the caller; another context, such as autocast, is not carried over.
        items: Its arguments. Their tensors exist when the first result is asked for.
        device: Device of the work.
    """
    if len(items) < 2:
        yield from map(prepare, items)
        return
    stream = None
    if device.type == 'cuda':
        stream = torch.cuda.Stream(device, priority=-1)  # its small kernels need not wait for the large ones
        stream.wait_stream(torch.cuda.current_stream(device))
    inference, gradients = torch.is_inference_mode_enabled(), torch.is_grad_enabled()

    def prepared(item: Item) -> tuple[Tensor, torch.cuda.Event | None]:
        with torch.cuda.stream(stream), torch.inference_mode(inference), torch.set_grad_enabled(gradients):
            return prepare(item), None if stream is None else stream.record_event()

    with ThreadPoolExecutor(1, 'one_ahead') as pool:
        try:
            pending = pool.submit(prepared, items[0])
            for item in items[1:]:
                following = pool.submit(prepared, item)
                yield _taken(pending, device)
                pending = following
            yield _taken(pending, device)
        finally:
            pool.shutdown(cancel_futures=True)
            if stream is not None:  # memory of the items is not used again before the thread's work is done
                torch.cuda.current_stream(device).wait_stream(stream)


def _taken(pending: Future, device: torch.device) -> Tensor:
    """Return a result, which the work that the caller starts on a GPU from now on waits for."""
    result, ready = pending.result()
    if ready is not None:
        stream = torch.cuda.current_stream(device)
        stream.wait_event(ready)
        result.record_stream(stream)
    return result
