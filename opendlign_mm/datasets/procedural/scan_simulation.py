"""Simulated scans of objects and rooms: visibility, partial views, sensor noise."""
import numpy as np


def visible_from(points: np.ndarray, camera: np.ndarray, angle: float = 0.8, tolerance: float = 0.04) -> np.ndarray:
    """Determine which points a camera sees, by a depth buffer over all directions.

    Args:
        points: Points in meters, (N, 3), so dense that a pixel has a point of each surface that it sees.
        camera: Position, (3,).
        angle: Size of a pixel in degrees.
        tolerance: Distance in meters behind the nearest point of a pixel within which points count as the same surface,
            for up to 1 m from the camera; it grows with the distance.

    Returns:
        Mask, bool (N,).
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
    """Sample the points of a scan and add noise.

    Hidden surfaces and some patches are missing, near surfaces are dense, far ones sparse.

    Args:
        points: Points of the complete room in meters, (N, 3).
        cameras: Positions of the camera, (K, 3).
        num_points: Maximum number of points of the scan; there are fewer if fewer are visible.
        rng: Generator of all random numbers.
        noise: Standard deviation of each coordinate in meters at 2 m from the nearest camera; it grows with the
            distance.
        hole_radius: Range of the radii of missing patches in meters.
        num_holes: Number of missing patches.

    Returns:
        Indices into ``points`` in random order, int64 (M,), and the points with noise, float64 (M, 3).
    """
    seen = np.zeros(len(points))
    nearest = np.full(len(points), np.inf)
    for camera in cameras:
        visible = visible_from(points, camera)
        distance = np.linalg.norm(points - camera, axis=1)
        # A camera nearby sees more points, but meshing removes most of that difference.
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
    """Compute with what weight a camera on one side of an object sees each point.

    The camera is at a random azimuth, 10 to 40 degrees above the horizon. Surfaces that face away are missing, those at
    a grazing angle or far away are sparse, and in half of the scans a random slab is occluded.

    Args:
        points: Points in meters, (N, 3).
        normals: Outward unit normals, (N, 3).
        rng: Generator of all random numbers.

    Returns:
        Weights >= 0, (N,), not normalized.
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
    """Add Gaussian noise of 0.2 to 1 % of the longest side of an object to its points (N, 3)."""
    extent = np.ptp(points, axis=0).max()
    return points + rng.normal(size=points.shape) * extent * rng.uniform(.002, .01)


def floor_remnant(points: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """Draw ``count`` points of the floor around an object, as they remain when a scan is cropped by a box."""
    low, high = points.min(0), points.max(0)
    margin = .05 * (high - low)
    xy = rng.uniform(low[:2] - margin[:2], high[:2] + margin[:2], (count, 2))
    return np.column_stack((xy, np.full(count, low[2])))


def seen_from_one_side(points: np.ndarray, count: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Choose the points of an object that one depth camera sees, and add noise; for surfaces without normals.

    The camera is at a random azimuth, 10 to 40 degrees above the horizon. Hidden surfaces are missing, and in half of
    the scans a random slab is occluded.

    Args:
        points: Dense points of the whole surface, (N, 3), z up, in any unit.
        count: Number of points of the scan.
        rng: Generator of all random numbers.

    Returns:
        Indices into ``points``, int64 (count,), some of them repeatedly if fewer are visible, and the points with
        noise, float64 (count, 3).
    """
    center, extent = (points.max(axis=0) + points.min(axis=0)) / 2, max(np.ptp(points, axis=0).max(), 1e-9)
    azimuth, lift = rng.uniform(0, 2 * np.pi), np.deg2rad(rng.uniform(10, 40))
    toward = np.array((np.cos(azimuth) * np.cos(lift), np.sin(azimuth) * np.cos(lift), np.sin(lift)))
    # One meter large: the depth buffer has a tolerance in meters. Its pixels hold several of 20,000 points.
    visible = visible_from((points - center) / extent, 2.2 * toward, angle=1.6)
    if rng.random() < .5:
        along = points @ rng.normal(size=3)
        start = rng.uniform(0, .85)
        low, high = np.quantile(along, (start, start + .15))
        kept = visible & ((along <= low) | (along >= high))
        visible = kept if kept.any() else visible
    chosen = rng.choice(np.flatnonzero(visible), count, replace=visible.sum() < count)
    return chosen, add_sensor_noise(points[chosen].astype(np.float64), rng)
