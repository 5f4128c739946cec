"""Random parameters of procedural images: of each from its own seed, or of a batch at once on its device."""
from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

# A bound of all images, or of each, float (N, 1, 1).
Bound = float | Tensor


class RandomParameters(Protocol):
    """Source of random parameters of N images."""

    def uniform(self, low: Bound, high: Bound) -> Tensor:
        """Draw float32 (N, 1, 1) in [low, high)."""

    def color(self, low: float, high: float) -> Tensor:
        """Draw float32 (N, 3, 1, 1) in [low, high)."""

    def mixture(self, count: int) -> Tensor:
        """Draw float32 (N, count) weights that sum to 1; one usually dominates."""

    def grain(self, size: int) -> Tensor:
        """Draw float32 (N, size, size) of standard normal noise."""

    def lattice(self, rows: int, columns: int) -> Tensor:
        """Draw float32 (N, rows, columns) in [0, 1)."""


class SeededParameters:
    """Random parameters on the CPU, those of an image from its own seed: they do not depend on other images.

    Args:
        seeds: N integers >= 0.
    """

    def __init__(self, seeds: Sequence[int]) -> None:
        self.rngs = [np.random.default_rng(int(seed)) for seed in seeds]

    def _stack(self, draw) -> Tensor:
        return torch.from_numpy(np.stack([np.asarray(draw(rng), dtype=np.float32) for rng in self.rngs]))

    def uniform(self, low: Bound, high: Bound) -> Tensor:
        """See :class:`RandomParameters`."""
        return self._stack(lambda rng: rng.uniform(low, high)).view(-1, 1, 1)

    def color(self, low: float, high: float) -> Tensor:
        """See :class:`RandomParameters`."""
        return self._stack(lambda rng: rng.uniform(low, high, 3))[..., None, None]

    def mixture(self, count: int) -> Tensor:
        """See :class:`RandomParameters`."""
        return self._stack(lambda rng: rng.dirichlet(np.full(count, .3)))

    def grain(self, size: int) -> Tensor:
        """See :class:`RandomParameters`."""
        return self._stack(lambda rng: rng.standard_normal((size, size), dtype=np.float32))

    def lattice(self, rows: int, columns: int) -> Tensor:
        """See :class:`RandomParameters`."""
        return self._stack(lambda rng: rng.random((rows, columns), dtype=np.float32))


class BatchParameters:
    """Random parameters of a batch, drawn at once on a device.

    Args:
        count: Number of images N.
        device: Device of the parameters.
        generator: Generator of the device; the default one without.
    """

    def __init__(self, count: int, device: torch.device | str, generator: torch.Generator | None = None) -> None:
        self.count, self.device, self.generator = count, device, generator

    def _rand(self, *shape: int) -> Tensor:
        return torch.rand(self.count, *shape, device=self.device, generator=self.generator)

    def uniform(self, low: Bound, high: Bound) -> Tensor:
        """See :class:`RandomParameters`."""
        return low + (high - low) * self._rand(1, 1)

    def color(self, low: float, high: float) -> Tensor:
        """See :class:`RandomParameters`."""
        return low + (high - low) * self._rand(3, 1, 1)

    def mixture(self, count: int) -> Tensor:
        """See :class:`RandomParameters`."""
        alpha = torch.full((self.count, count), .3, device=self.device)
        # A Dirichlet distribution; torch.distributions takes no generator.
        gamma = torch._standard_gamma(alpha, generator=self.generator).clamp_min_(1e-20)
        return gamma / gamma.sum(1, keepdim=True)

    def grain(self, size: int) -> Tensor:
        """See :class:`RandomParameters`."""
        return torch.randn(self.count, size, size, device=self.device, generator=self.generator)

    def lattice(self, rows: int, columns: int) -> Tensor:
        """See :class:`RandomParameters`."""
        return self._rand(rows, columns)
