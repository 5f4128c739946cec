"""Points of whatever a user has: a file of any format, an array or tensor, an object of Open3D or trimesh."""
from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from .addresses import fetch, is_address
from .array_files import MAX_POINTS, RawCloud, colors_as_bytes
from .cloud_files import split_columns
from .formats import FORMATS, Format, naming, read_cloud
from .frame_folders import read_frames
from .mesh_files import POINTS_OF_A_MESH, surface_points
from .rgbd_frames import RGBDFrame

MAX_BYTES = 4 * 2**30


@dataclass(frozen=True)
class PointCloud:
    """Points of one input, in its own frame and unit.

    Attributes:
        points: float64 (N, 3), finite.
        colors: float32 (N, 3) in [0, 1], RGB, or None.
        name: Name of the file, or of the kind of object.
        kind: 'cloud'; 'mesh' if the points were sampled from a surface; 'rgbd' if they come from depth images.
        up: Axis that points up by the standard of the format; '-y', that of cameras, is no more than roughly up. None
            where the standard leaves it open.
        units: 'm' if the format's standard says so; None where it leaves the unit open.
        notes: What was left out or assumed, one sentence each.
    """

    points: np.ndarray
    colors: np.ndarray | None
    name: str
    kind: Literal['cloud', 'mesh', 'rgbd']
    up: Literal['z', 'y', '-y'] | None = None
    units: Literal['m'] | None = None
    notes: tuple[str, ...] = ()


def read_points(source: Any, *, dims: int | None = None, max_points: int | None = None,
                mesh_points: int = POINTS_OF_A_MESH, seed: int = 0) -> PointCloud:
    """Read the points of one input.

    Points with coordinates that are NaN or infinite are left out, with a warning: many sensors write them where they
    measured nothing.

    Args:
        source: Path of a file of one of :data:`FORMATS`, or its address, see :func:`fetch`; folder of RGB-D frames, see
            :func:`read_frames`; array or tensor (N, >=3), x, y, z first, then perhaps colors (:func:`split_columns`);
            PointCloud or TriangleMesh of Open3D; Trimesh, PointCloud or Scene of trimesh; an :class:`RGBDFrame`; or a
            :class:`PointCloud`, which is returned as it is.
        dims: Number of float32 values of a point; .bin files need it.
        max_points: Largest number of points that are taken; inputs with more are refused. Default 20 million.
        mesh_points: Number of points on the surface of a mesh. 10,000 suit a shape; a room needs some 200,000.
        seed: Seed of the places of these points; the same seed gives the same points.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The input has no known format, cannot be read, has no finite points or only one place, or too many
            points. The message names it.
    """
    if isinstance(source, PointCloud):
        return source
    if mesh_points < 1:
        raise ValueError(f'mesh_points must be at least 1, got {mesh_points}')
    random = np.random.default_rng(seed)
    if isinstance(source, RGBDFrame):
        return _frame_cloud(naming('the RGB-D frame', source.points), 'frame', source.pose is not None, (), max_points)
    if is_address(source):
        source = fetch(source)
    if isinstance(source, (str, os.PathLike)) and Path(source).expanduser().is_dir():
        folder = Path(source).expanduser()
        raw, has_poses, notes = read_frames(folder)
        return _frame_cloud(raw, folder.resolve().name, has_poses, notes, max_points, str(folder))
    if isinstance(source, (str, os.PathLike)):
        path = checked_path(source)
        raw = read_cloud(path, mesh_points, random, dims)
        return as_point_cloud(raw, path.name, FORMATS[path.suffix.lower()], max_points, str(path))
    name, read = _reader_of_object(source, mesh_points, random)
    return as_point_cloud(naming(f'the {name}', read), name, Format(), max_points)


def _frame_cloud(raw: RawCloud, name: str, has_poses: bool, notes: Sequence[str], max_points: int | None,
                 title: str | None = None) -> PointCloud:
    for note in notes:
        warnings.warn(note, stacklevel=3)
    cloud = as_point_cloud(raw, name, Format(None, 'm'), max_points, title)
    return replace(cloud, kind='rgbd', up=None if has_poses else '-y', notes=(*notes, *cloud.notes))


def as_point_cloud(raw: RawCloud, name: str, standard: Format = Format(), max_points: int | None = None,  # noqa: B008
                   title: str | None = None) -> PointCloud:
    """Check the points of a reader and make them a :class:`PointCloud`.

    Args:
        raw: Points and colors.
        name: Name of the cloud.
        standard: What the standard of its format says.
        max_points: Largest number of points.
        title: How messages call it, by default ``name``.

    Raises:
        ValueError: See :func:`read_points`.
    """
    title, points, colors, notes = title or name, np.asarray(raw.points), raw.colors, []
    if points.ndim != 2 or points.shape[1] < 3 or points.dtype.kind not in 'iuf':
        raise ValueError(f'{title}: points must be numbers (N, >=3) with x, y, z first, got {points.dtype} '
                         f'{points.shape}')
    limit = MAX_POINTS if max_points is None else max_points
    if len(points) > limit:
        raise ValueError(f'{title} has {len(points)} points, and at most {limit} are read; reduce them, '
                         'for example to one point per cubic centimeter')
    points = points[:, :3].astype(np.float64)
    if len(points) == 0:
        raise ValueError(f'{title} has no points')
    finite = np.isfinite(points).all(axis=1)
    if not finite.all():
        if not finite.any():
            raise ValueError(f'{title}: all of its {len(points)} points have coordinates that are NaN or infinite')
        notes.append(f'{title}: {len(points) - finite.sum()} of {len(points)} points have coordinates that are NaN or '
                     'infinite and were left out')
        points, colors = points[finite], None if colors is None else colors[finite]
    if (points == points[0]).all():
        what = 'one point only' if len(points) == 1 else 'all points at one place'
        raise ValueError(f'{title} has {what}, which has no shape')
    for note in notes:
        warnings.warn(note, stacklevel=3)
    shares = None if colors is None else np.asarray(colors, dtype=np.float32) / np.float32(255)
    return PointCloud(points, shares, name, 'mesh' if raw.is_mesh else 'cloud', standard.up, standard.units,
                      tuple(notes))


def checked_path(source: str | os.PathLike) -> Path:
    """Return the path of a file that may be read: it exists, has a known ending, is not empty and not too large.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is of no known format, empty, too large, or not a file; the message names it.
    """
    path = Path(source).expanduser()
    if not path.exists():
        raise FileNotFoundError(f'{path} does not exist')
    if not path.is_file():
        raise ValueError(f'{path} is not a file')
    if path.suffix.lower() not in FORMATS:
        raise ValueError(f'{path} is of no known format ({path.suffix or "it has no ending"}); points are read from '
                         f'{", ".join(FORMATS)}')
    size = path.stat().st_size
    if size == 0:
        raise ValueError(f'{path} is empty')
    if size > MAX_BYTES:
        raise ValueError(f'{path} has {size / 2**30:.1f} GB, and at most {MAX_BYTES / 2**30:g} GB are read; reduce its '
                         'points')
    return path


def _reader_of_object(source: Any, mesh_points: int, random: np.random.Generator
                      ) -> tuple[str, Callable[[], RawCloud]]:
    """Return the name of an object in Python and a function that gives its points."""
    library = type(source).__module__.partition('.')[0]
    if library == 'open3d':
        return f'open3d {type(source).__name__}', lambda: _points_of_open3d(source, mesh_points, random)
    if library == 'trimesh':
        return f'trimesh {type(source).__name__}', lambda: surface_points(source, mesh_points, random)
    if hasattr(source, 'detach'):
        return 'tensor', lambda: split_columns(source.detach().double().cpu().numpy())
    if isinstance(source, (np.ndarray, list, tuple)):
        return 'array', lambda: split_columns(np.asarray(source))
    raise ValueError('points are read from a path, an array or tensor (N, >=3), an Open3D or a trimesh object, not '
                     f'from a {type(source).__name__}')


def _points_of_open3d(source: Any, mesh_points: int, random: np.random.Generator) -> RawCloud:
    if hasattr(source, 'to_legacy'):  # of Open3D's tensor API
        source = source.to_legacy()
    if hasattr(source, 'triangles'):
        import trimesh
        colors = np.asarray(source.vertex_colors)
        mesh = trimesh.Trimesh(np.asarray(source.vertices), np.asarray(source.triangles), process=False,
                               vertex_colors=colors_as_bytes(colors, len(colors)) if len(colors) else None)
        return surface_points(mesh, mesh_points, random)
    if not hasattr(source, 'points'):
        raise ValueError('it has no points; a PointCloud or TriangleMesh is needed')
    points, colors = np.asarray(source.points), np.asarray(source.colors)
    return RawCloud(points, colors_as_bytes(colors, len(points)) if len(colors) else None)
