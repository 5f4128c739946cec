"""How shapes stand: z up, and whether a guessed up axis makes them lie on their back."""
from typing import Literal

import numpy as np

from .point_cloud import PointCloud

# Standing better on the other axis by this much, on average over many shapes, and this much more for a single one: of
# 192 procedural shapes of 16 kinds that stand, none seems to lie by the sum, and a third of those that lie does.
DOUBT, DOUBT_OF_ONE = .15, .35
POINTS_LOOKED_AT = 2000


def z_up(points: np.ndarray, up: Literal['z', 'y']) -> np.ndarray:
    """Return points (N, 3) with z up, given the axis that points up; a rotation, as exchanging axes would mirror."""
    return np.stack([points[:, 0], -points[:, 2], points[:, 1]], axis=1) if up == 'y' else points


def lies_by(points: np.ndarray) -> float:
    """Return how much better an object stands with y up than with z up, given its points (N, 3).

    Objects stand on a wide base and differ between top and bottom more than between front and back. Single kinds, such
    as windows, may look as if they lay.
    """
    return _stands_on(points, 1) - _stands_on(points, 2)


class UpAxisCheck:
    """Check, over the shapes of one run, of up axes that are guesses."""

    def __init__(self) -> None:
        self._differences: list[float] = []

    def add(self, cloud: PointCloud, points: np.ndarray) -> None:
        """Look at a shape, unless the standard of its format says what is up.

        Args:
            cloud: The shape.
            points: Float (N, 3), its points as they are used, z up by guess.
        """
        if cloud.up is None:
            step = max(1, len(points) // POINTS_LOOKED_AT)
            self._differences.append(lies_by(points[::step]))

    def doubt(self) -> str | None:
        """Return a warning if the shapes seem to lie."""
        count = len(self._differences)
        if not count or np.mean(self._differences) < DOUBT + DOUBT_OF_ONE / count:
            return None
        what = 'the shape seems' if count == 1 else f'most of {count} shapes seem'
        return f'z is taken to be up, but {what} to lie on the back: look at the depth views, and say up=y if so'


def _stands_on(points: np.ndarray, axis: int) -> float:
    """Return how well an object stands if an axis points up: width of its base plus difference of top and bottom."""
    height = points[:, axis] - points[:, axis].min()
    ground = np.delete(points, axis, axis=1)
    base = ground[height <= .03 * height.max()]
    width = np.prod(np.ptp(base, axis=0)) / max(np.prod(np.ptp(ground, axis=0)), 1e-12)
    shares = np.histogram(height / max(height.max(), 1e-12), bins=20, range=(0, 1))[0] / len(points)
    return float(width + np.abs(shares - shares[::-1]).sum() / 2)
