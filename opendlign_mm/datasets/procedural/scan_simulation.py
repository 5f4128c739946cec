"""Simulate scans of objects and rooms: visibility, partial views, sensor noise."""

import numpy as np


def visible_from(points: np.ndarray, camera: np.ndarray, angle: float = 0.8, tolerance: float = 0.04) -> np.ndarray:
    """Tell which points a camera sees, by a depth buffer over all directions.

    Args:
        points: (N, 3) in meters, dense enough that ``angle`` has a point of every surface nearby.
        camera: (3,) position.
        angle: Size of a pixel in degrees.
        tolerance: Meters behind the nearest point of a pixel that still count as the same surface, at 1 m distance;
            grows with distance.

    Returns:
        bool (N,).
    """
    rays = points - camera
    distance = np.linalg.norm(rays, axis=1)
    columns = int(360 / angle)
    azimuth = ((np.arctan2(rays[:, 1], rays[:, 0]) / (2 * np.pi) + 0.5) * columns).astype(np.int64) % columns
    elevation = np.degrees(np.arcsin(np.clip(rays[:, 2] / np.maximum(distance, 1e-9), -1, 1)))
    pixel = ((elevation + 90) / angle).astype(np.int64) * columns + azimuth
    nearest = np.full(pixel.max() + 1, np.inf)
    np.minimum.at(nearest, pixel, distance)
    return distance <= nearest[pixel] + tolerance * np.maximum(1, distance)


def scan(points: np.ndarray, cameras: np.ndarray, num_points: int, rng: np.random.Generator,
         noise: float = 0.006, hole_radius: tuple[float, float] = (0.08, 0.25), num_holes: int = 12
         ) -> tuple[np.ndarray, np.ndarray]:
    """Choose the points of a scan and disturb them.

    Hidden surfaces are missing, near ones are dense, far ones thin, some patches are missing, and every coordinate has
    noise.

    Args:
        points: (N, 3) in meters, the complete room.
        cameras: (K, 3) positions.
        num_points: Points of the scan, at most; fewer if fewer are visible.
        rng: Source of all randomness.
        noise: Meters, standard deviation of each coordinate at 2 m from the nearest camera; grows with distance.
        hole_radius: Meters, range of radii of missing patches.
        num_holes: Missing patches.

    Returns:
        Indices int64 (M,) into ``points`` in random order, and the disturbed points float64 (M, 3).
    """
    seen = np.zeros(len(points))
    nearest = np.full(len(points), np.inf)
    for camera in cameras:
        visible = visible_from(points, camera)
        distance = np.linalg.norm(points - camera, axis=1)
        # A camera that passes nearby leaves more points, but meshing evens most of that out.
        seen += visible / np.maximum(distance, 0.7)
        nearest = np.where(visible, np.minimum(nearest, distance), nearest)
    for center in points[rng.choice(len(points), num_holes)]:
        seen[((points - center)**2).sum(axis=1) < rng.uniform(*hole_radius)**2] = 0
    candidates = np.flatnonzero(seen)
    count = min(num_points, len(candidates))
    chosen = rng.choice(candidates, count, replace=False, p=seen[candidates] / seen[candidates].sum())
    spread = noise * np.clip(nearest[chosen] / 2, 0.5, 3)
    return chosen, points[chosen] + rng.normal(size=(count, 3)) * spread[:, None]


def scan_like_weights(points: np.ndarray, normals: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return weights proportional to the chance that a camera on one side of the object sees each point.

    The camera stands at a random azimuth, 10 to 40 degrees above the horizon. What faces away from it is missing, what
    it sees at a grazing angle or from afar is thin, and one random slab is occluded in half of the scans.

    Args:
        points: (N, 3) in meters.
        normals: (N, 3) outward unit normals.
        rng: Source of the random camera and slab.

    Returns:
        (N,) non-negative weights, not normalized.
    """
    azimuth, lift = rng.uniform(0, 2 * np.pi), np.deg2rad(rng.uniform(10, 40))
    toward = np.array((np.cos(azimuth) * np.cos(lift), np.sin(azimuth) * np.cos(lift), np.sin(lift)))
    facing = np.clip(normals @ toward + .15, 0, None)  # a moving camera looks a little around the corner
    depth = points @ toward
    nearness = (depth - depth.min()) / max(np.ptp(depth), 1e-9)
    weights = facing * (.35 + nearness)
    if rng.random() < .5:
        direction = rng.normal(size=3)
        along = points @ direction
        start = rng.uniform(0, .85)
        low, high = np.quantile(along, (start, start + .15))
        weights[(along > low) & (along < high)] = 0
    return weights


def add_sensor_noise(points: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Gaussian noise of 0.2 to 1 % of the object's longest side; (N, 3) in and out."""
    extent = np.ptp(points, axis=0).max()
    return points + rng.normal(size=points.shape) * extent * rng.uniform(.002, .01)


def floor_remnant(points: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """``count`` points of the ground around the foot of the object, as cropping a scan by a box leaves them."""
    low, high = points.min(0), points.max(0)
    margin = .05 * (high - low)
    xy = rng.uniform(low[:2] - margin[:2], high[:2] + margin[:2], (count, 2))
    return np.column_stack((xy, np.full(count, low[2])))
