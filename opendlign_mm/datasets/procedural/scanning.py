"""Make a complete surface sampling look like a depth-camera scan."""
import numpy as np


def scan_like_weights(points: np.ndarray, normals: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Chance that a camera on one side of the object sees each point.

    The camera stands at a random azimuth, 10 to 40 degrees above the horizon. What faces away from it is missing, what
    it sees at a grazing angle or from afar is thin, and one random slab is occluded in half of the scans.

    Args:
        points: (N, 3) in metres.
        normals: (N, 3) outward unit normals.

    Returns:
        (N,) non-negative weights, not normalised.
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
