"""The floor of a scan that is turned in any way and has any unit."""
from typing import NamedTuple

import numpy as np

from ..point_ops.normals import estimate_normals

NUM_POINTS = 8000
MIN_POINTS = 100
# Shares of the scene's size: grid for an even density, and half the thickness of a plane.
VOXEL, TOLERANCE = .01, .01
MAX_PLANES = 10
NUM_CANDIDATES = 200
# Weights of :func:`_score`, chosen on 40 procedural rooms. Of 60 others the floor was found in all with z or y up, and
# in 57 in a random pose.
FLAT, LOW, PAIRED = .5, 1., .2
AXIS_BONUS = {'z': .3, 'y': .15}
# Floors score .4 to .8, the best wall of a room below .4.
DOUBTFUL = .15


class Floor(NamedTuple):
    """Result of :func:`find_floor`.

    Attributes:
        up: Unit vector (3,) that points up from the floor.
        is_doubtful: Whether another plane could be the floor almost as well.
    """
    up: np.ndarray
    is_doubtful: bool


class _Plane(NamedTuple):
    normal: np.ndarray  # unit vector (3,) that points to most points
    offset: float
    on: np.ndarray  # bool (N,), its points
    behind: float  # share of the points that are clearly behind it


def find_floor(points: np.ndarray, near: np.ndarray | None = None) -> Floor | None:
    """Find the floor of a scan by RANSAC.

    Planes that have nearly all points on one side may be the floor, a wall or the ceiling. The floor has many points;
    the scene is flat along its normal; what stands on it is nearer to it than to the opposite side; and, unlike most
    walls, it seldom has a plane opposite. A normal along +z or +y, where floors of most files are, counts a little too.

    Args:
        points: Float (N, 3) in any unit; N > 0.
        near: Unit vector (3,) from which up is less than 60 degrees away; None: anything.

    Returns:
        The floor; None if there are too few points or no plane with nearly all points on one side.
    """
    random = np.random.default_rng(0)
    thinned = _thinned(points, random)
    if thinned is None:
        return None
    size = _size(thinned)
    normals = estimate_normals(thinned)
    planes = [plane for plane in _planes(thinned, normals, TOLERANCE * size, random) if plane.behind < .03
              and (near is None or plane.normal @ near > .5)]
    if not planes:
        return None
    inner = thinned[~np.any([plane.on for plane in planes], axis=0)]
    scores = [_score(plane, planes, thinned, inner, size) for plane in planes]
    order = np.argsort(scores)[::-1]
    best = planes[order[0]]
    others = [scores[index] for index in order[1:] if planes[index].normal @ best.normal < .95]
    up = _refined(points, best, TOLERANCE * size)
    return Floor(up, bool(others) and scores[order[0]] - max(others) < DOUBTFUL)


def _size(points: np.ndarray) -> float:
    low, high = np.percentile(points, [1, 99], axis=0)
    return float((high - low).max())


def _thinned(points: np.ndarray, random: np.random.Generator) -> np.ndarray | None:
    """Return at most ``NUM_POINTS`` points of even density; None if there are too few for a plane."""
    if len(points) > 50 * NUM_POINTS:
        points = points[random.choice(len(points), 50 * NUM_POINTS, replace=False)]
    size = _size(points)
    if size <= 0:
        return None
    low, high = np.percentile(points, [1, 99], axis=0)
    points = points[((points > low - size) & (points < high + size)).all(axis=1)]  # without strays far off
    cells = np.floor((points - low) / (VOXEL * size)).astype(np.int64)
    points = points[np.sort(np.unique(cells, axis=0, return_index=True)[1])]
    if len(points) > NUM_POINTS:
        points = points[random.choice(len(points), NUM_POINTS, replace=False)]
    return points if len(points) >= MIN_POINTS else None


def _planes(points: np.ndarray, normals: np.ndarray, tolerance: float, random: np.random.Generator) -> list[_Plane]:
    """Find planes one after another, each the one of several candidates that most remaining points agree with."""
    planes, remaining = [], np.ones(len(points), dtype=bool)
    for _ in range(MAX_PLANES):
        left = np.flatnonzero(remaining)
        if len(left) < MIN_POINTS // 2:
            break
        chosen = random.choice(left, min(NUM_CANDIDATES, len(left)), replace=False)
        offsets = (normals[chosen] * points[chosen]).sum(axis=1)
        agree = (np.abs(points[left] @ normals[chosen].T - offsets) < tolerance) & (
            np.abs(normals[left] @ normals[chosen].T) > .9)
        best = agree.sum(axis=0).argmax()
        if agree[:, best].sum() < .02 * len(points):
            break
        normal, offset = _fitted(points[left[agree[:, best]]])
        distance = points @ normal - offset
        if (distance > 0).mean() < .5:
            normal, offset, distance = -normal, -offset, -distance
        on = (np.abs(distance) < tolerance) & (np.abs(normals @ normal) > .8)
        if not (on & remaining).any():
            break
        remaining &= ~on
        planes.append(_Plane(normal, offset, on, float((distance < -2 * tolerance).mean())))
    return planes


def _score(plane: _Plane, planes: list[_Plane], points: np.ndarray, inner: np.ndarray, size: float) -> float:
    """Return how much a plane looks like the floor."""
    height = float(np.percentile(points @ plane.normal - plane.offset, 99))
    if height <= 0:
        return -np.inf
    middle = float(np.median((inner @ plane.normal - plane.offset) / height)) if len(inner) else .5
    is_paired = any(plane.normal @ other.normal < -.97 and abs(-other.offset - plane.offset - height) < .15 * height
                    for other in planes)
    bonus = max(AXIS_BONUS[axis] * (plane.normal['xyz'.index(axis)] > .94) for axis in AXIS_BONUS)
    return float(plane.on.mean() + FLAT * (1 - height / size) + LOW * (.5 - middle) - PAIRED * is_paired + bonus)


def _fitted(points: np.ndarray) -> tuple[np.ndarray, float]:
    """Return unit normal and offset of the plane with the least squared distances."""
    middle = points.mean(axis=0)
    normal = np.linalg.eigh(np.cov((points - middle).T))[1][:, 0]
    return normal, float(normal @ middle)


def _refined(points: np.ndarray, plane: _Plane, tolerance: float) -> np.ndarray:
    """Return the normal of a plane, fitted to all points near it."""
    normal, offset = plane.normal, plane.offset
    for share in (1, .5, .5):
        near = points[np.abs(points @ normal - offset) < share * tolerance]
        if len(near) < MIN_POINTS // 2:
            break
        fitted, offset = _fitted(near)
        sign = np.sign(fitted @ normal)
        normal, offset = sign * fitted, sign * offset
    return normal
