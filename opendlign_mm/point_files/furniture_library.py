"""Libraries of furniture of Sweet Home 3D (.sh3f): archives of textured models with a catalog of names and sizes."""
import io
import posixpath
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from .array_files import RawCloud
from .mesh_files import POINTS_OF_A_MESH, part_colors

CATALOG = 'PluginFurnitureCatalog.properties'
# Bytes of a model or texture: more would be a mistake, or a small archive that would fill the memory.
MAX_BYTES = 500_000_000


class Furniture(NamedTuple):
    """Entry of a catalog.

    Attributes:
        number: Number of the entry in the catalog, from 1.
        key: Unique name, such as 'Scopia#bathroom3'.
        name: English name, such as 'Washbasin'.
        model: Path of the .obj file in the archive.
        size: Width, depth and height in meters, float64 (3,).
        rotation: Rotation of the points of the file, float64 (3, 3); y is up afterwards.
    """
    number: int
    key: str
    name: str
    model: str
    size: np.ndarray
    rotation: np.ndarray


def read_catalog(path: str | Path) -> list[Furniture]:
    """Read the entries of the catalog of a library whose model is an .obj file, in the order of their numbers.

    Raises:
        ValueError, KeyError, zipfile.BadZipFile: The file is not an archive, has no catalog, or an entry lacks a value.
    """
    with zipfile.ZipFile(path) as archive:
        entries = _numbered(_properties(_member(archive, CATALOG).decode('latin-1')))
    found = []
    for number, entry in sorted(entries.items()):
        missing = [key for key in ('name', 'model', 'width', 'depth', 'height') if not entry.get(key)]
        if missing:
            raise ValueError(f'entry {number} of its catalog lacks {", ".join(missing)}')
        try:
            sides = np.array([entry[key] for key in ('width', 'depth', 'height')], dtype=float)
            rotation = np.array(entry.get('modelRotation', '1 0 0 0 1 0 0 0 1').split(), dtype=float).reshape(3, 3)
        except ValueError:
            sides, rotation = np.zeros(3), np.zeros((3, 3))
        if not (np.isfinite(sides) & (sides > 0)).all() or not np.allclose(rotation @ rotation.T, np.eye(3), atol=1e-3):
            raise ValueError(f'entry {number} of its catalog has no valid width, depth, height or modelRotation')
        if entry['model'].lower().endswith('.obj'):
            found.append(Furniture(number, entry.get('id', str(number)), entry['name'], entry['model'].lstrip('/'),
                                   sides / 100, rotation))
    return found


def sample_furniture(path: str | Path, number: int | None, num_points: int | None,
                     random: np.random.Generator) -> RawCloud:
    """Return points spread evenly over the surface of a model of a library.

    Args:
        path: The library.
        number: Number of the model in the catalog.
        num_points: Number of points, default 10,000.
        random: Source of their places.

    Returns:
        Points in meters, float64 (N, 3), y up, as large as the catalog says, centered in x and z and standing on y = 0,
        and their colors from materials and textures.

    Raises:
        ValueError, KeyError, zipfile.BadZipFile: The library has no such model, or one without a surface.
    """
    corners, paint = furniture_surface(path, number)
    areas = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1)
    if not areas.sum() > 0:
        raise ValueError(f'its model {number} has no surface')
    faces = random.choice(len(areas), POINTS_OF_A_MESH if num_points is None else num_points, p=areas / areas.sum())
    weights = random.dirichlet((1, 1, 1), len(faces))
    points = np.einsum('nk,nkd->nd', weights, corners[faces])
    return RawCloud(points, paint(faces, weights), is_mesh=True)


def furniture_surface(path: str | Path, number: int | None
                      ) -> tuple[np.ndarray, Callable[[np.ndarray, np.ndarray], np.ndarray]]:
    """Return the surface of a model of a library; see :class:`.surfaces.Surface`.

    Args:
        path: The library.
        number: Number of the model in the catalog.

    Returns:
        Corners of the triangles, float64 (F, 3, 3), in the frame of :func:`sample_furniture`, and the function of their
        colors.

    Raises:
        ValueError, KeyError, zipfile.BadZipFile: The library has no such model, or one without faces.
    """
    catalog = {furniture.number: furniture for furniture in read_catalog(path)}
    if number not in catalog:
        raise ValueError(f'points_index is {number}, and its catalog has the models '
                         f'{", ".join(map(str, list(catalog)[:5]))}{", ..." * (len(catalog) > 5)}')
    furniture = catalog[number]
    parts = _load_parts(path, furniture.model)
    corners = np.concatenate([np.asarray(part.triangles) for part in parts]) @ furniture.rotation.T
    if not len(corners) or not np.isfinite(corners).all():
        raise ValueError(f'its model {furniture.model} has no faces, or vertices that are NaN or infinite')
    low, high = corners.min(axis=(0, 1)), corners.max(axis=(0, 1))
    width, depth, height = furniture.size
    # A flat model keeps its flat side.
    corners = (corners - (low + high) / 2) * (width, height, depth) / np.where(high > low, high - low, 1)
    corners[..., 1] -= corners[..., 1].min()
    return corners, lambda faces, weights: part_colors(parts, faces, weights)


def _load_parts(path: str | Path, model: str) -> list[Any]:
    """Load the meshes of a model with their materials, whose files are next to it in the archive."""
    import trimesh
    with zipfile.ZipFile(path) as archive:
        loaded = trimesh.load(io.BytesIO(_member(archive, model)), file_type='obj',
                              resolver=_files_next_to(archive, model), process=False)
    parts = list(loaded.geometry.values()) if isinstance(loaded, trimesh.Scene) else [loaded]
    parts = [part for part in parts if len(getattr(part, 'faces', ()))]
    for part in parts:
        # NumPy counts negative indices from the end.
        if not 0 <= part.faces.min() <= part.faces.max() < len(part.vertices):
            raise ValueError(f'its model {model} has faces of vertices that it lacks')
    if not parts:
        raise ValueError(f'its model {model} has no faces')
    return parts


def _files_next_to(archive: zipfile.ZipFile, model: str) -> Any:
    """Return a resolver that gives trimesh the materials and textures of a model."""
    from trimesh.resolvers import ZipResolver

    class FilesNextTo(ZipResolver):
        def get(self, name: str) -> bytes:
            return _member(archive, posixpath.normpath(posixpath.join(posixpath.dirname(model), str(name))))

    return FilesNextTo({})


def _member(archive: zipfile.ZipFile, name: str) -> bytes:
    try:
        size = archive.getinfo(name).file_size
    except KeyError:
        raise ValueError(f'it has no {name}') from None
    if size > MAX_BYTES:
        raise ValueError(f'its {name} has {size} bytes, and at most {MAX_BYTES} are read')
    return archive.read(name)


def _properties(text: str) -> dict[str, str]:
    """Parse the text of a Java properties file: ``key=value`` lines, escapes, lines continued by a backslash."""
    found = {}
    for line in re.sub(r'(?<!\\)((?:\\\\)*)\\\r?\n[ \t]*', r'\1', text).splitlines():
        key, equals, value = line.strip().partition('=')
        if equals and not key.startswith(('#', '!')):
            found[key.strip()] = re.sub(r'\\(u[0-9a-fA-F]{4}|.)', _unescaped, value.strip())
    return found


def _unescaped(match: re.Match) -> str:
    escape = match[1]
    return chr(int(escape[1:], 16)) if len(escape) == 5 else dict(t='\t', n='\n', r='\r').get(escape, escape)


def _numbered(properties: dict[str, str]) -> dict[int, dict[str, str]]:
    """Return the values of each entry: number -> key -> value, from keys such as ``width#12``."""
    entries: dict[int, dict[str, str]] = {}
    for key, value in properties.items():
        name, _, number = key.partition('#')
        if number.isdecimal():
            entries.setdefault(int(number), {})[name] = value
    return entries
