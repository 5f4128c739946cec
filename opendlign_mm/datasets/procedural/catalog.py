"""The built-in categories, and random objects of them."""
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from . import fixtures, furniture, small_objects
from .assembly import Assembly
from .scan_simulation import add_sensor_noise, floor_remnant, scan_like_weights

_BUILDERS: dict[str, Callable[[Assembly, np.random.Generator], None]] = dict(
    chair=furniture.chair, table=furniture.table, desk=furniture.desk, bed=furniture.bed, sofa=furniture.sofa,
    bookshelf=furniture.bookshelf, cabinet=furniture.cabinet, door=fixtures.door, window=fixtures.window,
    bathtub=fixtures.bathtub, toilet=fixtures.toilet, sink=fixtures.sink, lamp=small_objects.lamp,
    bottle=small_objects.bottle, cup=small_objects.cup, monitor=small_objects.monitor)
CATEGORIES = tuple(_BUILDERS)
# Candidates per point of a scan: enough points even if only a quarter of the surface is visible.
_OVERSAMPLING = 4


@dataclass(frozen=True)
class ShapeSample:
    """Object as a colored point cloud.

    Attributes:
        points: Points in meters, float32 (N, 3), z up, standing on z = 0, centered in x and y, front toward +y.
        colors: Colors, uint8 (N, 3), RGB.
    """
    points: np.ndarray
    colors: np.ndarray


def sample_shape(category: str, rng: np.random.Generator, num_points: int, scan_like: bool = False) -> ShapeSample:
    """Make a random object of a category and sample its surface.

    Args:
        category: Name in :data:`CATEGORIES`.
        rng: Generator of all random numbers; the same state gives the same object.
        num_points: Number of points N >= 1.
        scan_like: Whether to sample as seen by one depth camera: without the far side, with uneven density and noise,
            sometimes with a piece of the floor. Position and orientation stay those of the complete object.

    Raises:
        ValueError: The category is unknown, or ``num_points`` is below 1.
    """
    if num_points < 1:
        raise ValueError(f'num_points must be >= 1, got {num_points}')
    assembly = _assembled(category, rng)
    points, normals, colors = assembly.sample(num_points * (_OVERSAMPLING if scan_like else 1), rng)
    points = points - _place(points)
    if scan_like:
        weights = scan_like_weights(points, normals, rng)
        chosen = rng.choice(len(points), num_points, replace=True, p=weights / weights.sum())
        points, colors = add_sensor_noise(points[chosen], rng), colors[chosen]
        remnant = int(rng.uniform(0, .12) * num_points) if rng.random() < .4 else 0
        if remnant:
            points[:remnant] = floor_remnant(points, remnant, rng)
            colors[:remnant] = rng.integers(90, 200, 3)
    return ShapeSample(points.astype(np.float32), colors)


def surface_of_shape(category: str, rng: np.random.Generator, num_points: int
                     ) -> tuple[np.ndarray, Callable[[np.ndarray, np.ndarray], np.ndarray]]:
    """Make the surface of the object whose complete points :func:`sample_shape` gives for the same arguments.

    Returns:
        Corners of F triangles, float64 (F, 3, 3), in the frame of those points, and the function from indices of
        triangles (N,) and weights of their corners (N, 3) to colors, uint8 (N, 3).

    Raises:
        ValueError: The category is unknown.
    """
    assembly = _assembled(category, rng)
    corners = assembly.corners() - _place(assembly.sample(num_points, rng)[0])
    colors = assembly.face_colors()
    return corners, lambda faces, weights: colors[faces]


def _assembled(category: str, rng: np.random.Generator) -> Assembly:
    if category not in _BUILDERS:
        raise ValueError(f'unknown category {category!r}; the built-in ones are {", ".join(CATEGORIES)}')
    assembly = Assembly()
    _BUILDERS[category](assembly, rng)
    return assembly


def _place(points: np.ndarray) -> np.ndarray:
    """Return the place in an object that becomes the origin: the middle of its bottom, float64 (3,)."""
    low, high = points.min(0), points.max(0)
    return np.array((*(low + high)[:2] / 2, low[2]))
