"""Smooth deformations of objects, which make several of one CAD model."""
import numpy as np

# Factors by which each axis is stretched.
STRETCH = (.78, 1.28)
# Largest relative change of the width from the middle to the top; of the middle's place by leaning; of it by bending.
TAPER, LEAN, BEND = .18, .08, .12


def deformed(points: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Stretch, taper, lean and bend an object a little at random; it stays upright, with its front toward its front.

    Args:
        points: Points, float (N, 3), z up, at any place and in any unit.
        rng: Generator of all random numbers.

    Returns:
        float32 (N, 3), centered, the longest side before stretching 2.
    """
    low, high = points.min(axis=0), points.max(axis=0)
    x, y, z = ((points - (low + high) / 2) / max((high - low).max() / 2, 1e-9)).T
    # Along each axis in [-1, 1], however flat the object is.
    half = np.maximum((high - low) / (high - low).max().clip(1e-9), 1e-3)
    along, up = x / half[0], z / half[2]
    taper, lean, bend = rng.uniform(-TAPER, TAPER, 2), rng.uniform(-LEAN, LEAN, 2), rng.uniform(-BEND, BEND, 2)
    wide = x * (1 + taper[0] * up) + lean[0] * up * half[2]
    # An arc as seen from above, and one as seen from the front.
    deep = y * (1 + taper[1] * up) + lean[1] * up * half[2] + bend[0] * (along**2 - .5) * half[0]
    high_up = z + bend[1] * (along**2 - .5) * half[2] * half[0]
    return (np.stack((wide, deep, high_up), axis=1) * rng.uniform(*STRETCH, 3)).astype(np.float32)
