"""The level frame in meters that detection works in, and the way back to the frame of the file."""
from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from .floor_search import find_floor
from .point_cloud import PointCloud

UPWARD = {'z': np.array([0., 0, 1]), 'y': np.array([0., 1, 0]), '-y': np.array([0., -1, 0])}
METERS = {'m': 1., 'cm': .01, 'mm': .001}
UNIT_NAMES = {'m': 'meters', 'cm': 'centimeters', 'mm': 'millimeters'}
# A floor that is tilted less is level: scans are, and their boxes keep one angle.
LEVEL = np.cos(np.radians(3))
# Heights of a scene in the unit of the file from which on it is read as centimeters, and as millimeters.
CENTIMETERS, MILLIMETERS = 100., 700.


@dataclass(frozen=True)
class OrientedBoxes:
    """K boxes of any orientation.

    Attributes:
        centers: float64 (K, 3), gravity centers.
        sizes: float64 (K, 3), along the axes of each box.
        rotations: float64 (K, 3, 3); columns are the axes of each box.
        yaws: float64 (K,), counterclockwise about z in radians, if all boxes stand upright on z, else None.
    """

    centers: np.ndarray
    sizes: np.ndarray
    rotations: np.ndarray
    yaws: np.ndarray | None

    def corners(self) -> np.ndarray:
        """Return the corners, float64 (K, 8, 3)."""
        signs = np.array([[x, y, z] for x in (-.5, .5) for y in (-.5, .5) for z in (-.5, .5)])
        return self.centers[:, None] + np.einsum('kij,knj->kni', self.rotations, signs * self.sizes[:, None])


@dataclass(frozen=True)
class SceneFrame:
    """Rotation and scale from the frame of a file to a level one in meters, z up.

    Attributes:
        rotation: float64 (3, 3), from the file to the level frame.
        scale: Meters per unit of the file.
        description: What was found or assumed, one line.
        is_doubtful: Whether the direction up is hardly more than a guess.
    """

    rotation: np.ndarray
    scale: float
    description: str
    is_doubtful: bool = False

    @property
    def is_identity(self) -> bool:
        """Whether the file is level and in meters already."""
        return self.scale == 1 and np.array_equal(self.rotation, np.eye(3))

    def to_level(self, points: np.ndarray) -> np.ndarray:
        """Return points (N, 3) of the file in the level frame, float64 in meters; those of an identity are the same."""
        return points if self.is_identity else points @ self.rotation.T * self.scale

    def to_file(self, points: np.ndarray) -> np.ndarray:
        """Return points (N, 3) of the level frame in the frame and unit of the file."""
        return points if self.is_identity else points / self.scale @ self.rotation

    def boxes_to_file(self, boxes: np.ndarray) -> OrientedBoxes:
        """Return boxes of the level frame in the frame and unit of the file, with their full orientation.

        Args:
            boxes: Float (K, 7): gravity center and sizes in meters, yaw counterclockwise about z in radians.
        """
        boxes = np.asarray(boxes, dtype=np.float64).reshape(-1, 7)
        cos, sin, zero = np.cos(boxes[:, 6]), np.sin(boxes[:, 6]), np.zeros(len(boxes))
        turns = np.stack([cos, -sin, zero, sin, cos, zero, zero, zero, zero + 1], axis=1).reshape(-1, 3, 3)
        is_upright = np.array_equal(self.rotation, np.eye(3))
        return OrientedBoxes(self.to_file(boxes[:, :3]), boxes[:, 3:6] / self.scale, self.rotation.T @ turns,
                             boxes[:, 6].copy() if is_upright else None)


def find_frame(points: np.ndarray | PointCloud, up: Literal['auto', 'z', 'y', '-y'] = 'auto',
               units: Literal['auto', 'm', 'cm', 'mm'] = 'auto') -> SceneFrame:
    """Find how a scene has to be turned to be level, and its unit.

    Args:
        points: Float (N, 3) or a :class:`PointCloud`, of which the standard of the format is followed where it says
            what is up or the unit.
        up: Axis that points up; '-y' is that of cameras. 'auto': the standard of the format, otherwise the floor, which
            is turned level unless it is within 3 degrees; z if no floor is found.
        units: Unit of the coordinates. 'auto': that of the standard of the format, otherwise by the height of the
            scene: millimeters from 700 on, centimeters from 100 on, else meters.

    Raises:
        ValueError: ``up`` or ``units`` is none of these, or all points are at one place.
    """
    if up != 'auto' and up not in UPWARD:
        raise ValueError(f"up must be 'auto', {', '.join(map(repr, UPWARD))}, got {up!r}")
    if units != 'auto' and units not in METERS:
        raise ValueError(f"units must be 'auto', {', '.join(map(repr, METERS))}, got {units!r}")
    standard_up = points.up if isinstance(points, PointCloud) else None
    standard_units = points.units if isinstance(points, PointCloud) else None
    xyz = points.points if isinstance(points, PointCloud) else np.asarray(points, dtype=np.float64)
    if not len(xyz) or not np.ptp(xyz, axis=0).any():
        raise ValueError('a scene needs points at more than one place')
    is_doubtful = False
    if up != 'auto':
        upward, said = UPWARD[up], f'up is {up}, as given'
    elif standard_up in ('z', 'y'):
        upward, said = UPWARD[standard_up], f'up is {standard_up}, the standard of the format'
    else:
        upward, said, is_doubtful = _upward(xyz, standard_up)
    rotation = rotation_to_z(upward)
    if units == 'auto':
        units, how = _unit(xyz @ rotation[2], standard_units)
    else:
        how = 'as given'
    return SceneFrame(rotation, METERS[units], f'{said}; coordinates are {UNIT_NAMES[units]}, {how}', is_doubtful)


def rotation_to_z(upward: np.ndarray) -> np.ndarray:
    """Return the smallest rotation, float64 (3, 3), that turns a unit vector (3,) to +z."""
    x, y, z = upward
    if z < -1 + 1e-12:
        return np.diag([1., -1, -1])
    # Rodrigues' formula for the axis upward x z.
    share = 1 / (1 + z)
    return np.array([[1 - x * x * share, -x * y * share, -x], [-x * y * share, 1 - y * y * share, -y], [x, y, z]])


def _upward(points: np.ndarray, camera: str | None) -> tuple[np.ndarray, str, bool]:
    """Return the direction up, where it comes from, and whether it is doubtful."""
    default = camera or 'z'
    floor = find_floor(points, UPWARD[camera] if camera else None)
    if floor is None:
        return UPWARD[default], f'no floor was found, so up is taken to be {default}; say up=... if it is not', True
    axis = next((axis for axis, vector in UPWARD.items() if floor.up @ vector >= LEVEL), None)
    doubt = '; another plane could be the floor as well, so check it or say up=...' if floor.is_doubtful else ''
    if axis is not None:
        return UPWARD[axis], f'the floor is level and up is {axis}{doubt}', floor.is_doubtful
    angle = np.degrees(np.arccos(np.clip(floor.up[2], -1, 1)))
    return floor.up, f'the floor is tilted by {angle:.0f} degrees from z and was turned level{doubt}', floor.is_doubtful


def _unit(heights: np.ndarray, standard: str | None) -> tuple[str, str]:
    """Return the unit and where it comes from, given the heights of all points."""
    if standard is not None:
        return standard, 'the standard of the format'
    height = float(np.subtract(*np.percentile(heights, [99.5, .5])))
    unit = 'mm' if height >= MILLIMETERS else 'cm' if height >= CENTIMETERS else 'm'
    said = f'{height:.0f}' if height >= 10 else f'{height:.2g}'
    return unit, f'as the scene is {said} high' + (' (say units=... if not)' if unit != 'm' else '')
