"""Assemble procedural objects from colored primitives."""
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import trimesh

Color = tuple[int, int, int]


@lru_cache(maxsize=1)
def _unit_sphere() -> trimesh.Trimesh:
    """Create the unit sphere once: a cabinet has a dozen knobs, and subdividing takes longer than all its boxes."""
    return trimesh.creation.icosphere(subdivisions=2)


class Assembly:
    """List of colored meshes that make up one object, in meters, z up."""

    def __init__(self) -> None:
        self.meshes = []
        self.colors = []

    def add(self, mesh: trimesh.Trimesh, color: Color) -> None:
        """Add a mesh in one color (RGB, 0 to 255)."""
        self.meshes.append(mesh)
        self.colors.append(color)

    def box(self, size: Sequence[float], center: Sequence[float], color: Color, yaw: float = 0.) -> None:
        """Add a box of ``size`` (x, y, z) around ``center``, rotated by ``yaw`` radians about its vertical axis."""
        transform = trimesh.transformations.rotation_matrix(yaw, (0, 0, 1)) if yaw else np.eye(4)
        transform[:3, 3] = center
        self.add(trimesh.creation.box(extents=size, transform=transform), color)

    def rod(self, start: Sequence[float], end: Sequence[float], radius: float, color: Color) -> None:
        """Add a cylinder of ``radius`` from ``start`` to ``end``."""
        self.add(trimesh.creation.cylinder(radius=radius, segment=(start, end), sections=12), color)

    def lathe(self, profile: Sequence[tuple[float, float]], center: Sequence[float], color: Color,
              stretch: Sequence[float] = (1, 1)) -> None:
        """Add the surface of revolution of a (radius, height) polyline about the vertical axis at ``center``.

        ``stretch`` scales its x and y.
        """
        mesh = trimesh.creation.revolve(np.asarray(profile, dtype=float), sections=24)
        mesh.apply_scale((stretch[0], stretch[1], 1))
        mesh.apply_translation(center)
        self.add(mesh, color)

    def ring(self, radius: float, thickness: float, center: Sequence[float], color: Color,
             normal: Sequence[float] = (0, 0, 1), stretch: Sequence[float] = (1, 1)) -> None:
        """Add a torus about ``normal``; ``stretch`` scales its two in-plane axes."""
        mesh = trimesh.creation.torus(radius, thickness, major_sections=20, minor_sections=8)
        mesh.apply_scale((stretch[0], stretch[1], 1))
        mesh.apply_transform(trimesh.geometry.align_vectors((0, 0, 1), normal))
        mesh.apply_translation(center)
        self.add(mesh, color)

    def ellipsoid(self, radii: Sequence[float], center: Sequence[float], color: Color) -> None:
        """Add an ellipsoid with the semi-axes ``radii``."""
        mesh = _unit_sphere().copy()
        mesh.apply_scale(radii)
        mesh.apply_translation(center)
        self.add(mesh, color)

    def tray(self, size: Sequence[float], bottom_center: Sequence[float], wall: float, color: Color) -> None:
        """Add an open box: a floor and four walls of thickness ``wall``, standing on ``bottom_center``."""
        (w, d, h), (x, y, z) = size, bottom_center
        self.box((w, d, wall), (x, y, z + wall / 2), color)
        for side in (-1, 1):
            self.box((w, wall, h), (x, y + side * (d - wall) / 2, z + h / 2), color)
            self.box((wall, d, h), (x + side * (w - wall) / 2, y, z + h / 2), color)

    def stretch(self, factors: Sequence[float]) -> None:
        """Scale the whole object by ``factors`` along x, y and z."""
        for mesh in self.meshes:
            mesh.apply_scale(factors)

    def sample(self, num_points: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Sample points uniformly from all surfaces.

        Returns:
            Points, float64 (N, 3), outward normals (N, 3) and colors, uint8 (N, 3).
        """
        whole = trimesh.util.concatenate(self.meshes)
        points, faces = trimesh.sample.sample_surface(whole, num_points, seed=rng)
        return np.asarray(points), np.asarray(whole.face_normals)[faces], self.face_colors()[faces]

    def corners(self) -> np.ndarray:
        """Return the corners of all triangles, float64 (F, 3, 3)."""
        return np.concatenate([np.asarray(mesh.triangles) for mesh in self.meshes])

    def face_colors(self) -> np.ndarray:
        """Return the color of each triangle, uint8 (F, 3)."""
        return np.repeat(np.asarray(self.colors, dtype=np.uint8), [len(mesh.faces) for mesh in self.meshes], axis=0)


def _jitter(rng: np.random.Generator, base: Sequence[int], spread: int) -> Color:
    return tuple(int(v) for v in np.clip(np.asarray(base) + rng.integers(-spread, spread + 1, 3), 0, 255))


def wood(rng: np.random.Generator) -> Color:
    """Draw a color of wood, from light pine to dark walnut."""
    bases = ((222, 184, 135), (181, 134, 84), (139, 94, 60), (92, 58, 36), (236, 220, 195))
    return _jitter(rng, bases[rng.integers(len(bases))], 12)


def metal(rng: np.random.Generator) -> Color:
    """Draw a color of metal: black, gray or polished."""
    bases = ((40, 40, 44), (120, 122, 128), (190, 192, 198))
    return _jitter(rng, bases[rng.integers(len(bases))], 8)


def ceramic(rng: np.random.Generator) -> Color:
    """Draw a color of ceramic, from white to cream."""
    return _jitter(rng, (240, 238, 232), 10)


def fabric(rng: np.random.Generator) -> Color:
    """Draw any muted color."""
    return tuple(int(v) for v in rng.integers(50, 215, 3))


def paint(rng: np.random.Generator) -> Color:
    """Draw any color."""
    return tuple(int(v) for v in rng.integers(20, 245, 3))


def shade(color: Color, factor: float) -> Color:
    """Return a darker (``factor`` < 1) or lighter (> 1) color."""
    return tuple(int(min(v * factor, 255)) for v in color)
