"""Points of one shape, read from a file of any supported format."""
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..projection.views import FAR
from ..source_files import is_error_of_machine
from .array_files import MAX_POINTS, load_npy, points_of_entry, read_h5
from .mesh_files import MESH_EXTENSIONS, read_ply, sample_mesh

SHAPE_EXTENSIONS = ('.ply', '.npy', '.txt', *MESH_EXTENSIONS)


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
        path: A .ply, .npy (an array (N, >=3), or a dict with ``xyz`` and ``rgb``), .txt (x, y, z, ... separated by
            commas or blanks) or .h5 file, or a mesh (.off, .obj, .glb, ...; .ply with faces), whose surface is sampled.
        num_points: Largest number of points, a random choice; the exact number for a mesh, default 10,000.
        seed: Seed of that choice; the same seed gives the same points.
        index: Row of an .h5 file's dataset.
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
    if suffix not in (*SHAPE_EXTENSIONS, '.h5', '.hdf5'):
        raise ValueError(f'{path} is of no known type; shapes are read from {", ".join(SHAPE_EXTENSIONS)} and .h5')
    colors: np.ndarray | None = None
    try:
        if suffix in ('.h5', '.hdf5'):
            points = read_h5(path, key, index)
        elif suffix == '.npy':
            points, colors = points_of_entry(load_npy(path))
        elif suffix == '.ply':
            points, colors = read_ply(path, num_points, random)
        elif suffix == '.txt':
            points = _read_text(path)
        else:
            points, colors = sample_mesh(path, num_points, random)
        problem = None
    except Exception as error:  # each library has errors of its own
        if is_error_of_machine(error):
            raise
        problem = str(error) or type(error).__name__
    if problem is not None:
        raise ValueError(f'{path} cannot be read: {problem}. It may be truncated or not what its ending says.')
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


def _read_text(path: Path) -> np.ndarray:
    with open(path) as file:
        first = file.readline()
    if not first.strip():
        raise ValueError('its first line is empty')
    return np.loadtxt(path, delimiter=',' if ',' in first else None, dtype=np.float64, ndmin=2)
