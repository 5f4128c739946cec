"""The axes of a room: its floor exactly level, its walls along x and y.

Proposals have sides along the axes, and clusters change with small turns of a scene. In the axes of the room the boxes
are tight, and the same however the scene lies in its file.
"""
import numpy as np

from ..point_ops.normals import estimate_normals
from .scene_frame import rotation_to_z

MAX_POINTS = 20_000
MIN_POINTS = 200
LAYER = .05  # meters, of the search for the floor
BAND = .03  # meters, within which points belong to the floor
MAX_TILT = np.cos(np.radians(4))
# Share of the normals of walls that have to agree on a direction, 0 for any, 1 for a perfect box.
MIN_AGREEMENT = .1


def room_axes(points: np.ndarray) -> np.ndarray:
    """Return the rotation to the axes of a room.

    Args:
        points: float64 (N, 3) in meters, near the origin, z up within 3 degrees.

    Returns:
        float64 (3, 3), by less than 45 degrees about z; ``points @ rotation.T`` are level, with walls along x and y. An
        axis that cannot be found stays as it is.
    """
    chosen = np.linspace(0, len(points) - 1, min(len(points), MAX_POINTS)).astype(int)
    some = np.asarray(points, dtype=np.float64)[chosen]
    if len(some) < MIN_POINTS:
        return np.eye(3)
    normals = estimate_normals(some)
    tilt = rotation_to_z(_floor_normal(some, normals))
    normals = normals @ tilt.T
    of_walls = normals[np.abs(normals[:, 2]) < .3]
    # Walls at right angles and both sides of a wall have one direction modulo 90 degrees.
    mean = np.exp(4j * np.arctan2(of_walls[:, 1], of_walls[:, 0])).sum() if len(of_walls) else 0
    if abs(mean) < MIN_AGREEMENT * max(len(of_walls), MIN_POINTS):
        return tilt
    angle = -np.angle(mean) / 4
    turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    return turn @ tilt


def _floor_normal(points: np.ndarray, normals: np.ndarray) -> np.ndarray:
    """Return the upward normal of the floor, fitted until its points stay the same; +z if there is no floor."""
    upward = np.array([0., 0, 1])
    heights = points[np.abs(normals[:, 2]) > .9, 2]
    if len(heights) < MIN_POINTS:
        return upward
    layers = np.floor((heights - heights.min()) / LAYER).astype(int)
    counts = np.bincount(layers)
    lowest = np.flatnonzero(counts >= .3 * counts.max())[0]
    normal, offset = upward, float(np.median(heights[np.abs(layers - lowest) <= 1]))
    on = np.abs(points @ normal - offset) < 2 * BAND
    for _ in range(50):
        if on.sum() < MIN_POINTS // 2:
            return upward
        middle = points[on].mean(axis=0)
        normal = np.linalg.eigh(np.cov((points[on] - middle).T))[1][:, 0]
        normal = normal if normal[2] > 0 else -normal
        before, on = on, np.abs((points - middle) @ normal) < BAND
        if (before == on).all():
            break
    return normal if normal[2] >= MAX_TILT else upward
