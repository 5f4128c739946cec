"""Speed of a run: images per second, time outside the generator, GPU memory."""
import time
from collections.abc import Sequence
from typing import NamedTuple

import torch


class Measured(NamedTuple):
    """Work done and time taken.

    Attributes:
        images, shapes: Numbers of images and of objects.
        seconds: Duration of the run.
        generating: Seconds inside the generator, including waiting for the GPU, summed over the processes.
        working: ``seconds`` summed over the processes.
        peak: Peak GPU memory in bytes; None on the CPU.
    """
    images: int
    shapes: int
    seconds: float
    generating: float
    working: float
    peak: int | None = None

    def line(self) -> str:
        """Return one line for the log."""
        if not self.images:
            return f'0 images, {self.seconds:.1f} s'
        memory = 'on the CPU' if self.peak is None else f'GPU memory peak {self.peak / 2**30:.2f} GiB'
        return (f'{self.images} images of {self.shapes} objects in {self.seconds:.1f} s: '
                f'{self.images / self.seconds:.3g} images/s, {self.seconds / self.shapes:.3g} s per object, '
                f'{100 * (1 - self.generating / self.working):.1f} % of the time outside the generator, {memory}')


def together(parts: Sequence[Measured]) -> Measured:
    """Combine the measurements of processes that ran at the same time."""
    peaks = [part.peak for part in parts if part.peak is not None]
    return Measured(sum(part.images for part in parts), sum(part.shapes for part in parts),
                    max(part.seconds for part in parts), sum(part.generating for part in parts),
                    sum(part.working for part in parts), max(peaks) if peaks else None)


class Throughput:
    """Counters of one process; time starts with construction.

    Args:
        device: Device of the generator.
    """

    def __init__(self, device: torch.device) -> None:
        self.device, self.images, self.shapes, self.generating = device, 0, 0, 0.
        if device.type == 'cuda':
            torch.cuda.reset_peak_memory_stats(device)
        self.begin = time.perf_counter()
        self.end: float | None = None

    def stop(self) -> None:
        """Stop the clock."""
        self.end = time.perf_counter()

    def measured(self) -> Measured:
        """Return the measurement up to :meth:`stop`, or up to now."""
        seconds = (self.end or time.perf_counter()) - self.begin
        peak = torch.cuda.max_memory_allocated(self.device) if self.device.type == 'cuda' else None
        return Measured(self.images, self.shapes, seconds, self.generating, seconds, peak)
