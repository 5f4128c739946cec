"""Surfaces of mesh files with their colors, for rendering."""
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .formats import naming
from .furniture_library import furniture_surface
from .mesh_files import MESH_EXTENSIONS, load_mesh, part_colors


@dataclass(frozen=True)
class Surface:
    """Triangles and the colors on them.

    Attributes:
        corners: Corners of F triangles, float64 (F, 3, 3).
        paint: Function from indices of triangles (N,) and barycentric weights of their corners (N, 3) to colors,
            uint8 (N, 3), RGB.
    """
    corners: np.ndarray
    paint: Callable[[np.ndarray, np.ndarray], np.ndarray]


def read_surface(path: str | Path, index: int | None = None) -> Surface:
    """Read the surface of a mesh file with its vertex colors, materials and textures.

    Args:
        path: A mesh (.obj, .off, .stl, .glb, .gltf, .ply with faces), see :func:`.mesh_files.load_mesh`, or a library
            of furniture (.sh3f).
        index: Number of a model in the catalog of a library.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file is of another type, cannot be read, or has no faces; the message names it.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f'there is no mesh file {path}')
    suffix = path.suffix.lower()
    if suffix == '.sh3f':
        return naming(path, lambda: Surface(*furniture_surface(path, index)))
    if suffix not in (*MESH_EXTENSIONS, '.ply'):
        raise ValueError(f'{path} is not a mesh, which rendering needs: {", ".join(MESH_EXTENSIONS)}, .ply with faces '
                         'or .sh3f')
    return naming(path, lambda: _surface_of_mesh(path))


def _surface_of_mesh(path: Path) -> Surface:
    import trimesh
    loaded = load_mesh(path, materials=True)
    # A scene may show a mesh several times, each in its place.
    parts = loaded.dump() if isinstance(loaded, trimesh.Scene) else [loaded]
    parts = [part for part in parts if len(getattr(part, 'faces', ()))]
    if not parts:
        raise ValueError('it has no faces, which rendering needs')
    corners = np.concatenate([np.asarray(part.triangles, dtype=np.float64) for part in parts])
    if not np.isfinite(corners).all():
        raise ValueError('it has vertices that are NaN or infinite')
    return Surface(corners, lambda faces, weights: part_colors(parts, faces, weights))
