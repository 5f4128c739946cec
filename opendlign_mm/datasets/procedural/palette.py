"""Colours (RGB, 0-255) of common materials."""
import numpy as np


def _jitter(rng: np.random.Generator, base, spread: int):
    return tuple(int(v) for v in np.clip(np.asarray(base) + rng.integers(-spread, spread + 1, 3), 0, 255))


def wood(rng: np.random.Generator):
    """Light pine to dark walnut."""
    bases = ((222, 184, 135), (181, 134, 84), (139, 94, 60), (92, 58, 36), (236, 220, 195))
    return _jitter(rng, bases[rng.integers(len(bases))], 12)


def metal(rng: np.random.Generator):
    """Black, grey or polished."""
    bases = ((40, 40, 44), (120, 122, 128), (190, 192, 198))
    return _jitter(rng, bases[rng.integers(len(bases))], 8)


def ceramic(rng: np.random.Generator):
    """White to cream."""
    return _jitter(rng, (240, 238, 232), 10)


def fabric(rng: np.random.Generator):
    """Any muted colour."""
    return tuple(int(v) for v in rng.integers(50, 215, 3))


def paint(rng: np.random.Generator):
    """Any colour."""
    return tuple(int(v) for v in rng.integers(20, 245, 3))


def shade(colour, factor: float):
    """A darker (< 1) or lighter (> 1) tone."""
    return tuple(int(min(v * factor, 255)) for v in colour)
