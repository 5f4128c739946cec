"""The built-in categories, and random objects of them."""
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from . import fixture_styles, fixtures, furniture, household, seating_styles, small_objects, storage_styles
from .assembly import Assembly
from .scan_simulation import add_sensor_noise, floor_remnant, scan_like_weights

Builder = Callable[[Assembly, np.random.Generator], None]
_BUILDERS: dict[str, Builder] = dict(
    chair=furniture.chair, table=furniture.table, desk=furniture.desk, bed=furniture.bed, sofa=furniture.sofa,
    bookshelf=furniture.bookshelf, cabinet=furniture.cabinet, door=fixtures.door, window=fixtures.window,
    bathtub=fixtures.bathtub, toilet=fixtures.toilet, sink=fixtures.sink, lamp=small_objects.lamp,
    bottle=small_objects.bottle, cup=small_objects.cup, monitor=small_objects.monitor)
CATEGORIES = tuple(_BUILDERS)
# The second edition has further styles of each category, and six more categories. The first one stays as it is, since
# published numbers rest on it.
_STYLES: dict[str, tuple[Builder, ...]] = dict(
    chair=(seating_styles.armchair, seating_styles.simple_chair, seating_styles.lounger),
    table=(storage_styles.plain_table, storage_styles.plain_table), desk=(storage_styles.plain_desk, ),
    bed=(seating_styles.platform_bed, seating_styles.raised_bed),
    sofa=(seating_styles.soft_sofa, seating_styles.soft_sofa), bookshelf=(storage_styles.open_shelf, ),
    cabinet=(storage_styles.plain_cabinet, storage_styles.plain_cabinet), door=(fixture_styles.plain_door, ),
    window=(fixture_styles.glazed_window, ), bathtub=(fixture_styles.soft_bathtub, ),
    toilet=(fixture_styles.soft_toilet, ), sink=(fixture_styles.plain_sink, ), lamp=(fixture_styles.jointed_lamp, ),
    bottle=(fixture_styles.other_bottle, ), cup=(fixture_styles.other_cup, ), monitor=(fixture_styles.flat_screen, ))
_BUILDERS_BY_EDITION: dict[int, dict[str, tuple[Builder, ...]]] = {
    1: {category: (builder, ) for category, builder in _BUILDERS.items()},
    2: {**{category: (builder, *_STYLES[category]) for category, builder in _BUILDERS.items()},
        'picture': (household.picture, ), 'counter': (household.counter, ), 'curtain': (household.curtain, ),
        'refrigerator': (household.refrigerator, ), 'shower curtain': (household.shower_curtain, ),
        'garbage bin': (household.garbage_bin, )}}
EDITIONS = tuple(_BUILDERS_BY_EDITION)
# Range of the factors by which the axes of an object of the second edition are stretched.
_STRETCH = (.88, 1.14)
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


def categories_of(edition: int = 1) -> tuple[str, ...]:
    """Return the built-in categories: 16 of the first edition, followed by six more in the second.

    Raises:
        ValueError: There is no such edition.
    """
    if edition not in EDITIONS:
        raise ValueError(f'edition must be one of {EDITIONS}, got {edition!r}')
    return tuple(_BUILDERS_BY_EDITION[edition])


def sample_shape(category: str, rng: np.random.Generator, num_points: int, scan_like: bool = False,
                 edition: int = 1) -> ShapeSample:
    """Make a random object of a category and sample its surface.

    Args:
        category: Name in :func:`categories_of`.
        rng: Generator of all random numbers; the same state gives the same object.
        num_points: Number of points N >= 1.
        scan_like: Whether to sample as seen by one depth camera: without the far side, with uneven density and noise,
            sometimes with a piece of the floor. Position and orientation stay those of the complete object.
        edition: 2 for further styles of each category, 22 categories and stretched proportions.

    Raises:
        ValueError: The category or the edition is unknown, or ``num_points`` is below 1.
    """
    if num_points < 1:
        raise ValueError(f'num_points must be >= 1, got {num_points}')
    assembly = _assembled(category, rng, edition)
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


def surface_of_shape(category: str, rng: np.random.Generator, num_points: int, edition: int = 1
                     ) -> tuple[np.ndarray, Callable[[np.ndarray, np.ndarray], np.ndarray]]:
    """Make the surface of the object whose complete points :func:`sample_shape` gives for the same arguments.

    Returns:
        Corners of F triangles, float64 (F, 3, 3), in the frame of those points, and the function from indices of
        triangles (N,) and weights of their corners (N, 3) to colors, uint8 (N, 3).

    Raises:
        ValueError: The category or the edition is unknown.
    """
    assembly = _assembled(category, rng, edition)
    corners = assembly.corners() - _place(assembly.sample(num_points, rng)[0])
    colors = assembly.face_colors()
    return corners, lambda faces, weights: colors[faces]


def _assembled(category: str, rng: np.random.Generator, edition: int) -> Assembly:
    if category not in categories_of(edition):
        raise ValueError(f'unknown category {category!r}; the built-in ones are {", ".join(categories_of(edition))}'
                         + ', and edition=2 has it' * (category in categories_of(2)))
    assembly = Assembly()
    builders = _BUILDERS_BY_EDITION[edition][category]
    builders[rng.integers(len(builders)) if edition > 1 else 0](assembly, rng)
    if edition > 1:
        assembly.stretch(rng.uniform(*_STRETCH, 3))
    return assembly


def _place(points: np.ndarray) -> np.ndarray:
    """Return the place in an object that becomes the origin: the middle of its bottom, float64 (3,)."""
    low, high = points.min(0), points.max(0)
    return np.array((*(low + high)[:2] / 2, low[2]))
