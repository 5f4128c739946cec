"""Parts that boxes and surfaces of revolution do not give: cushions, hanging cloth, plates with an outline, tapers."""
from collections.abc import Sequence

import numpy as np
import trimesh

from .assembly import Assembly, Color


def soft_box(a: Assembly, size: Sequence[float], center: Sequence[float], color: Color, softness: float = .35,
             tilt: float = 0.) -> None:
    """Add a cushion: a box of ``size`` with rounded edges and corners.

    Args:
        a: Object to add to.
        size: Extents in meters (x, y, z).
        center: Center of the box.
        color: Color, RGB.
        softness: 0 for a box, 1 for an ellipsoid.
        tilt: Rotation about the x axis in radians; positive leans the top toward +y.
    """
    mesh = trimesh.creation.icosphere(subdivisions=3)
    unit = np.asarray(mesh.vertices)
    power = 2 / max(softness, .05)  # a superellipsoid |x|^p + |y|^p + |z|^p = 1
    mesh.vertices = unit / (np.abs(unit)**power).sum(axis=1, keepdims=True)**(1 / power)
    mesh.apply_scale(np.asarray(size) / 2)
    mesh.apply_transform(trimesh.transformations.rotation_matrix(-tilt, (1, 0, 0)))
    mesh.apply_translation(center)
    a.add(mesh, color)


def slab(a: Assembly, size: Sequence[float], center: Sequence[float], color: Color, tilt: float = 0.) -> None:
    """Add a box that is rotated by ``tilt`` radians about its x axis; positive leans the top toward +y."""
    transform = trimesh.transformations.rotation_matrix(-tilt, (1, 0, 0))
    transform[:3, 3] = center
    a.add(trimesh.creation.box(extents=size, transform=transform), color)


def cloth(a: Assembly, path: np.ndarray, low: float, high: float, color: Color, gather: float = 0.) -> None:
    """Add cloth that hangs from a path, seen from both sides.

    Args:
        a: Object to add to.
        path: Points (N, 2) in x and y, in meters.
        low: Height of its lower edge.
        high: Height of its upper edge.
        color: Color, RGB.
        gather: How much narrower the cloth is in the middle of its height, as if tied, in [0, 1).
    """
    heights = np.linspace(0, 1, 9)
    center = path.mean(axis=0)
    waist = 1 - gather * np.exp(-((heights - .4) / .25)**2)
    grid = center + (path - center)[None] * waist[:, None, None]
    z = np.broadcast_to((low + (high - low) * heights)[:, None, None], (len(heights), len(path), 1))
    vertices = np.concatenate([grid, z], axis=2).reshape(-1, 3)
    rows, columns = np.meshgrid(np.arange(len(heights) - 1), np.arange(len(path) - 1), indexing='ij')
    first = (rows * len(path) + columns).ravel()
    faces = np.concatenate([np.column_stack([first, first + 1, first + len(path) + 1]),
                            np.column_stack([first, first + len(path) + 1, first + len(path)])])
    a.add(trimesh.Trimesh(vertices, np.concatenate([faces, faces[:, ::-1]]), process=False), color)


def pleats(start: Sequence[float], end: Sequence[float], waves: int, amplitude: float, count: int = 90) -> np.ndarray:
    """Return a path (count, 2) from ``start`` to ``end`` with ``waves`` waves of ``amplitude`` meters across it."""
    start, end = np.asarray(start, dtype=float), np.asarray(end, dtype=float)
    along = np.linspace(0, 1, count)
    across = np.array([-(end - start)[1], (end - start)[0]]) / max(np.linalg.norm(end - start), 1e-9)
    return start + along[:, None] * (end - start) + amplitude * np.sin(2 * np.pi * waves * along)[:, None] * across


def plate(a: Assembly, outline: np.ndarray, low: float, high: float, color: Color, upright: bool = False,
          y: float = 0.) -> None:
    """Add a convex plate: the hull of an outline, extruded.

    Args:
        a: Object to add to.
        outline: Points (N, 2): x and y, or x and z of an upright plate.
        low: Lower end of the extrusion, in z, or in y relative to ``y`` if upright.
        high: Upper end.
        color: Color, RGB.
        upright: Whether the plate stands.
        y: Place of an upright plate.
    """
    points = np.concatenate([np.column_stack([outline, np.full(len(outline), value)]) for value in (low, high)])
    if upright:
        points = points[:, (0, 2, 1)] + (0, y, 0)
    a.add(trimesh.convex.convex_hull(points), color)


def taper(a: Assembly, bottom: Sequence[float], top: Sequence[float], low: float, high: float, color: Color,
          center: Sequence[float] = (0, 0)) -> None:
    """Add a body between a rectangle ``bottom`` (x, y) at height ``low`` and one ``top`` at ``high``."""
    corners = [(sx * w / 2 + center[0], sy * d / 2 + center[1], z) for (w, d), z in ((bottom, low), (top, high))
               for sx in (-1, 1) for sy in (-1, 1)]
    a.add(trimesh.convex.convex_hull(np.asarray(corners)), color)


def arch(width: float, height: float, rise: float, count: int = 16) -> np.ndarray:
    """Return the outline (N, 2) of an arched opening that stands on z = 0: ``rise`` is the height of its arch."""
    angles = np.linspace(0, np.pi, count)
    top = np.column_stack([width / 2 * np.cos(angles), height - rise + rise * np.sin(angles)])
    return np.concatenate([[(-width / 2, 0), (width / 2, 0)], top])
