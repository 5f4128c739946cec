"""Points of one shape, read from a file of any supported format."""
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..projection.views import FAR
from .array_files import MAX_POINTS, read_h5
from .formats import FORMATS, naming, read_cloud
from .furniture_library import sample_furniture
from .mesh_files import MESH_EXTENSIONS

# What a folder of shapes is searched for; other formats are read where they are named.
SHAPE_EXTENSIONS = ('.ply', '.npy', '.txt', '.pcd', '.xyz', *MESH_EXTENSIONS)


class ShapePoints(NamedTuple):
    """Points of a shape.

    Attributes:
        points: float32 (N, 3), as in the file less ``offset``.
        colors: uint8 (N, 3), RGB, or None.
        offset: float64 (3,), 0 unless the shape is so far from the origin that float32 would lose its form.
    """
    points: np.ndarray
    colors: np.ndarray | None
    offset: np.ndarray


def read_shape(path: str | Path, num_points: int | None = None, seed: int = 0, index: int | None = None,
               key: str = 'data') -> ShapePoints:
    """Read the points of a shape.

    Args:
        path: A .ply, .npy (an array (N, >=3), or a dict with ``xyz`` and ``rgb``), .npz, .pcd, .xyz, .txt, .csv (x, y,
            z, ... separated by commas or blanks), .las, .laz or .h5 file, or a mesh (.off, .obj, .glb, ...; .ply with
            faces), whose surface is sampled, or a library of furniture (.sh3f), whose model ``index`` is sampled.
        num_points: Largest number of points, a random choice; the exact number for a mesh, default 10,000.
        seed: Seed of that choice; the same seed gives the same points.
        index: Row of an .h5 file's dataset, or number of a model in the catalog of a library.
        key: Name of that dataset.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file cannot be read, for example because it is truncated, has no points, has coordinates that
            are not finite, or announces more than 20 million points. The message names it.
    """
    path, random = Path(path), np.random.default_rng(seed)
    suffix = path.suffix.lower()
    if not path.is_file():
        raise FileNotFoundError(f'there is no shape file {path}')
    if suffix not in (*FORMATS, '.h5', '.hdf5', '.sh3f'):
        raise ValueError(f'{path} is of no known type; shapes are read from {", ".join(FORMATS)}, .h5 and .sh3f')
    if suffix in ('.h5', '.hdf5'):
        points, colors = naming(path, lambda: (read_h5(path, key, index), None))
    elif suffix == '.sh3f':
        points, colors = naming(path, lambda: sample_furniture(path, index, num_points, random))[:2]
    else:
        points, colors = read_cloud(path, num_points, random)[:2]
    return checked_points(points, colors, str(path), num_points, random)


def checked_points(points: Any, colors: np.ndarray | None, name: str, num_points: int | None = None,
                   random: np.random.Generator | None = None) -> ShapePoints:
    """Return at most ``num_points`` of (N, >=3) points as float32.

    Points that are far from the origin for their size are centered in the precision of the file before the cast.

    Raises:
        ValueError: These are not points, too many, or not finite in float32; the message contains ``name``.
    """
    points = np.asarray(points)
    if points.ndim != 2 or points.shape[1] < 3 or points.dtype.kind not in 'iuf':
        raise ValueError(f'{name}: points must be numbers (N, >=3) with x, y, z first, got {points.dtype} '
                         f'{points.shape}')
    if len(points) == 0:
        raise ValueError(f'{name} has no points')
    if len(points) > MAX_POINTS:
        raise ValueError(f'{name} has {len(points)} points, and at most {MAX_POINTS} are read; reduce them')
    points, offset = _centered_if_far(points[:, :3])
    bad = int((~np.isfinite(points)).any(axis=1).sum())
    if bad:
        raise ValueError(f'{name}: {bad} of {len(points)} points have coordinates that are NaN or infinite in float32')
    if num_points is not None and len(points) > num_points:
        chosen = np.sort((random or np.random.default_rng(0)).choice(len(points), num_points, replace=False))
        points, colors = points[chosen], None if colors is None else colors[chosen]
    return ShapePoints(points, colors, offset)


def _centered_if_far(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the points as float32 and what was subtracted from them before, float64 (3,)."""
    offset = np.zeros(3)
    if points.dtype not in (np.float16, np.float32) and np.isfinite(points).all():
        exact = points.astype(np.float64)
        low, high = exact.min(axis=0), exact.max(axis=0)
        half = (high / 2 - low / 2).max()
        if half > 0 and max(abs(low).max(), abs(high).max()) > FAR * half:
            offset = low / 2 + high / 2
            points = exact - offset
    with np.errstate(over='ignore'):  # counted as infinite
        return np.ascontiguousarray(points, dtype=np.float32), offset

