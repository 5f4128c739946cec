"""Floor, ceiling and outer walls of an indoor scan, found from geometry alone."""
from dataclasses import dataclass

import numpy as np

from ...compiled import compiled

# Cosine of the angle between the normal of a point and that of its plane.
MIN_COSINE = 0.8


@dataclass
class RoomPlanes:
    """Result of :func:`find_room_planes`.

    Attributes:
        floor_height: z of the floor in meters; None if no floor is found.
        structure: Bool (N,), True for points of floor, ceiling and outer walls.
        num_walls: Number of wall planes.
    """
    floor_height: float | None
    structure: np.ndarray
    num_walls: int


def find_room_planes(xyz: np.ndarray,
                     normals: np.ndarray,
                     horizontal_tolerance: float = 0.06,
                     wall_tolerance: float = 0.05,
                     min_wall_length: float = 1.0,
                     min_wall_height: float = 1.2,
                     min_ceiling_height: float = 1.8,
                     max_outside: float = 0.02,
                     max_planes: int = 16,
                     num_candidates: int = 300,
                     rng: np.random.Generator | None = None) -> RoomPlanes:
    """Find the planes that enclose a room.

    The floor is the lowest height with many points of vertical normals, the ceiling the highest such height above
    ``min_ceiling_height``. Walls are vertical planes, found one after another: of several random candidates the one
    that most points agree with in position and normal. A plane is a wall only if it is long and high and has hardly any
    points behind it, which excludes the side of a wardrobe.

    Args:
        xyz: Float (N, 3) in meters, z up.
        normals: Float (N, 3), see :func:`.point_ops.normals.estimate_normals`.
        horizontal_tolerance: Half the thickness of floor and ceiling in meters.
        wall_tolerance: Half the thickness of a wall in meters.
        min_wall_length: Smallest horizontal extent of a wall in meters.
        min_wall_height: Smallest vertical extent of a wall in meters.
        min_ceiling_height: Smallest height of the ceiling above the floor in meters.
        max_outside: Largest share of the scene's points that may be behind a wall.
        max_planes: Largest number of vertical planes that are examined.
        num_candidates: Random candidates per plane.
        rng: Generator of the candidates; seed 0 by default.

    Returns:
        The planes and their points; a scene may have neither floor nor walls.
    """
    rng = np.random.default_rng(0) if rng is None else rng
    floor, ceiling = _horizontal_levels(xyz[:, 2], np.abs(normals[:, 2]) > 0.9, horizontal_tolerance,
                                        min_ceiling_height)
    structure = np.zeros(len(xyz), dtype=bool)
    if floor is not None:  # points below the floor are noise of the scan
        structure |= xyz[:, 2] <= floor + horizontal_tolerance
    if ceiling is not None:
        structure |= xyz[:, 2] >= ceiling - horizontal_tolerance

    # Priorities of the points as candidates: a point more or less changes one candidate, not all of them.
    priorities = [rng.random(len(xyz)) for _ in range(max_planes)]
    num_walls = 0
    unused = (np.abs(normals[:, 2]) < 0.25) & ~structure
    for priority in priorities:
        candidates = np.flatnonzero(unused)
        if len(candidates) < 100:
            break
        direction, offset = _best_vertical_plane(xyz, normals, candidates, wall_tolerance,
                                                 candidates[priority[candidates].argsort()[:num_candidates]])
        distance = xyz @ direction - offset
        on_plane = (np.abs(distance) < wall_tolerance) & (normals @ direction > 0.6)
        unused &= ~((np.abs(distance) < wall_tolerance) & (normals @ direction > MIN_COSINE))
        if not on_plane.any() or (distance < -2 * wall_tolerance).mean() > max_outside:
            continue
        along = xyz[on_plane] @ np.array([-direction[1], direction[0], 0])
        length, height = (np.subtract(*np.percentile(values, [98, 2])) for values in (along, xyz[on_plane, 2]))
        if length >= min_wall_length and height >= min_wall_height:
            structure |= on_plane
            num_walls += 1
    return RoomPlanes(floor, structure, num_walls)


def _horizontal_levels(z: np.ndarray, horizontal: np.ndarray, tolerance: float,
                       min_ceiling_height: float) -> tuple[float | None, float | None]:
    """Return the heights of floor and ceiling, each None if it is not found."""
    levels = z[horizontal]
    if len(levels) < 0.02 * len(z):
        return None, None
    edges = np.arange(levels.min() - tolerance, levels.max() + 2 * tolerance, tolerance)
    counts, _ = np.histogram(levels, edges)
    strong = np.flatnonzero(counts >= 0.2 * counts.max())

    def refined(index: int) -> float:
        middle = (edges[index] + edges[index + 1]) / 2
        return float(np.median(levels[np.abs(levels - middle) <= tolerance]))

    floor, top = refined(strong[0]), refined(strong[-1])
    return floor, top if top - floor >= min_ceiling_height else None


def _best_vertical_plane(xyz: np.ndarray, normals: np.ndarray, candidates: np.ndarray, tolerance: float,
                         chosen: np.ndarray) -> tuple[np.ndarray, float]:
    """Return the unit normal (3,) and offset of the vertical plane, of those at the chosen points, with most points."""
    directions = normals[chosen] * [1, 1, 0]
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    offsets = (directions * xyz[chosen]).sum(axis=1)
    x, y = np.ascontiguousarray(xyz[candidates, :2].T)
    normal_x, normal_y = np.ascontiguousarray(normals[candidates, :2].T)
    best = _count_agreeing(x, y, normal_x, normal_y, directions, offsets, tolerance).argmax()
    distances = x * directions[best, 0] + y * directions[best, 1]
    agrees = ((np.abs(distances - offsets[best]) < tolerance)
              & (normal_x * directions[best, 0] + normal_y * directions[best, 1] > MIN_COSINE))
    return directions[best], float(np.median(distances[agrees]))


@compiled()
def _count_agreeing(x, y, normal_x, normal_y, directions, offsets, tolerance):
    """Count the points that agree with each of C vertical planes in position and normal, int64 (C,)."""
    counts = np.zeros(len(offsets), dtype=np.int64)
    for c in range(len(offsets)):
        along_x, along_y, offset = directions[c, 0], directions[c, 1], offsets[c]
        count = 0
        for n in range(len(x)):
            near = abs(x[n] * along_x + y[n] * along_y - offset) < tolerance
            count += near & (normal_x[n] * along_x + normal_y[n] * along_y > MIN_COSINE)
        counts[c] = count
    return counts
