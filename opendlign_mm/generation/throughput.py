"""How fast a run was."""
import time
from typing import Optional

import torch


class Throughput:
    """Counts what a process made and how long its generator took, with waiting for the GPU.

    Args:
        device: Where the generator runs.
    """

    def __init__(self, device: torch.device) -> None:
        self.device, self.images, self.shapes, self.generating = device, 0, 0, 0.
        if device.type == 'cuda':
            torch.cuda.reset_peak_memory_stats(device)
        self.begin = time.perf_counter()
        self.end: Optional[float] = None

    def stop(self) -> None:
        """End of the run."""
        self.end = time.perf_counter()

    @property
    def seconds(self) -> float:
        return (self.end or time.perf_counter()) - self.begin

    @property
    def overhead(self) -> float:
        """Share of the time that was not spent in the generator, in [0, 1]."""
        return 1 - self.generating / self.seconds

    def line(self) -> str:
        """One line for the log."""
        if not self.images:
            return f'0 images, {self.seconds:.1f} s'
        peak = 'CPU only'
        if self.device.type == 'cuda':
            peak = f'GPU memory peak {torch.cuda.max_memory_allocated(self.device) / 2**30:.2f} GiB'
        return (f'{self.images} images of {self.shapes} objects in {self.seconds:.1f} s: '
                f'{self.images / self.seconds:.3g} images/s, {self.seconds / self.shapes:.3g} s per object, '
                f'{100 * self.overhead:.1f} % of the time outside the generator, {peak}')
