"""Read point clouds and meshes from files of any supported format."""
import pickle
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

MESH_EXTENSIONS = ('.obj', '.off', '.glb', '.gltf', '.stl')
SHAPE_EXTENSIONS = ('.ply', '.npy', '.txt') + MESH_EXTENSIONS
POINTS_OF_A_MESH = 10_000


class ShapePoints(NamedTuple):
    """Points float32 (N, 3), as in the file, and their colors uint8 (N, 3), RGB, or None."""
    points: np.ndarray
    colors: np.ndarray | None


def read_shape(path: str | Path, num_points: int | None = None, seed: int = 0, index: int | None = None,
               key: str = 'data') -> ShapePoints:
    """Read the points of a shape.

    Args:
        path: A .ply, .npy (an array (N, >=3), or a dict with ``xyz`` and ``rgb``), .txt (x, y, z, ... separated by
            commas or blanks) or .h5 file, or a mesh (.off, .obj, .glb, ...; .ply with faces), whose surface is sampled.
        num_points: At most so many points, a random choice; of a mesh exactly so many, default 10,000.
        seed: Of that choice; the same seed gives the same points.
        index: Row of an .h5 file's dataset.
        key: Name of that dataset.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file cannot be read, for example because it is cut off, has no points, or has coordinates that
            are not finite. The message names it.
    """
    path, random = Path(path), np.random.default_rng(seed)
    suffix = path.suffix.lower()
    if not path.is_file():
        raise FileNotFoundError(f'there is no shape file {path}')
    if suffix not in (*SHAPE_EXTENSIONS, '.h5', '.hdf5'):
        raise ValueError(f'{path} is of no known type; shapes are read from {", ".join(SHAPE_EXTENSIONS)} and .h5')
    try:
        if suffix in ('.h5', '.hdf5'):
            points, colors = _read_h5(path, key, index)
        elif suffix == '.npy':
            points, colors = points_of_entry(load_npy(path))
        elif suffix == '.ply':
            points, colors = _read_ply(path, num_points, random)
        elif suffix == '.txt':
            points, colors = _read_text(path), None
        else:
            points, colors = _sample_mesh(path, num_points, random)
        problem = None
    except Exception as error:  # each library has errors of its own
        problem = str(error) or type(error).__name__
    if problem is not None:
        raise ValueError(f'{path} cannot be read: {problem}. It may be cut off or not what its ending says.')
    return checked_points(points, colors, str(path), num_points, random)


def checked_points(points: Any, colors: np.ndarray | None, name: str, num_points: int | None = None,
                   random: np.random.Generator | None = None) -> ShapePoints:
    """At most ``num_points`` of (N, >=3) points as float32; ``ValueError`` naming ``name`` if they are no points."""
    points = np.asarray(points)
    if points.ndim != 2 or points.shape[1] < 3 or not np.issubdtype(points.dtype, np.number):
        raise ValueError(f'{name}: points must be numbers (N, >=3) with x, y, z first, got {points.dtype} '
                         f'{points.shape}')
    if len(points) == 0:
        raise ValueError(f'{name} has no points')
    points = np.ascontiguousarray(points[:, :3], dtype=np.float32)
    broken = int((~np.isfinite(points)).any(axis=1).sum())
    if broken:
        raise ValueError(f'{name}: {broken} of {len(points)} points have coordinates that are NaN or infinite')
    if num_points is not None and len(points) > num_points:
        chosen = np.sort((random or np.random.default_rng(0)).choice(len(points), num_points, replace=False))
        points, colors = points[chosen], None if colors is None else colors[chosen]
    return ShapePoints(points, colors)


def points_of_entry(entry: Any) -> tuple[np.ndarray, np.ndarray | None]:
    """Points and colors of an array (N, >=3), or of a dict ``xyz`` (N, 3), ``rgb`` (N, 3) as OpenShape stores it.

    Raises:
        ValueError: The dict has no ``xyz``, or colors for another number of points.
    """
    if isinstance(entry, np.ndarray) and entry.dtype == object and entry.size == 1:
        entry = entry.item()
    if not isinstance(entry, dict):
        return entry, None
    if 'xyz' not in entry:
        raise ValueError(f"it has no 'xyz', only {', '.join(map(str, entry)) or 'nothing'}")
    points, colors = np.asarray(entry['xyz']), entry.get('rgb')
    return points, None if colors is None else _as_bytes(np.asarray(colors), len(points))


def _as_bytes(colors: np.ndarray, count: int) -> np.ndarray:
    """Colors (N, >=3) as uint8; floats up to 1 are shares, all others have 255 as their highest value."""
    if colors.ndim != 2 or colors.shape[1] < 3 or len(colors) != count:
        raise ValueError(f'it has {count} points but colors of shape {colors.shape}')
    colors = colors[:, :3]
    if np.issubdtype(colors.dtype, np.floating) and (colors.size == 0 or colors.max() <= 1):
        colors = colors * 255
    return np.clip(np.rint(colors), 0, 255).astype(np.uint8)


def _read_h5(path: Path, key: str, index: int | None) -> tuple[np.ndarray, None]:
    import h5py
    with h5py.File(path, 'r') as file:
        if key not in file:
            raise ValueError(f'it has no dataset {key!r}, only {", ".join(file) or "nothing"}')
        return (file[key][()] if index is None else file[key][index]), None


def _read_text(path: Path) -> np.ndarray:
    with open(path) as file:
        first = file.readline()
    if not first.strip():
        raise ValueError('its first line is empty')
    delimiter = ',' if ',' in first else None
    return np.loadtxt(path, delimiter=delimiter, dtype=np.float32, ndmin=2)


def _read_ply(path: Path, num_points: int | None, random: np.random.Generator
              ) -> tuple[np.ndarray, np.ndarray | None]:
    from plyfile import PlyData
    file = PlyData.read(str(path))
    if 'face' in file and len(file['face']):
        return _sample_mesh(path, num_points, random)
    if 'vertex' not in file:
        raise ValueError("it has no element 'vertex'")
    vertices = file['vertex'].data
    names = vertices.dtype.names
    points = np.stack([vertices[axis] for axis in 'xyz'], axis=1)
    channels = next((channels for channels in (('red', 'green', 'blue'), ('r', 'g', 'b'))
                     if set(channels) <= set(names)), None)
    if channels is None:
        return points, None
    return points, _as_bytes(np.stack([vertices[channel] for channel in channels], axis=1), len(points))


def _sample_mesh(path: Path, num_points: int | None, random: np.random.Generator
                 ) -> tuple[np.ndarray, np.ndarray | None]:
    """Points spread evenly over the surface of all parts of a mesh file; vertices where it has no faces."""
    import trimesh
    loaded = trimesh.load(str(path), process=False)
    mesh = loaded.to_geometry() if isinstance(loaded, trimesh.Scene) else loaded
    if len(getattr(mesh, 'vertices', ())) == 0:
        raise ValueError('it has no vertices')
    if path.suffix.lower() == '.off':
        _check_number_of_faces(path, len(getattr(mesh, 'faces', ())))
    if len(getattr(mesh, 'faces', ())) == 0:
        return np.asarray(mesh.vertices), None
    if not np.isfinite(mesh.triangles).all():
        raise ValueError('it has vertices that are NaN or infinite')
    count = POINTS_OF_A_MESH if num_points is None else num_points
    points, face_index = trimesh.sample.sample_surface(mesh, count, seed=random)
    # Textures would have to be decoded for one color a point; vertex and face colors are at hand.
    kind = getattr(mesh.visual, 'kind', None)
    colors = mesh.visual.face_colors[face_index, :3] if kind in ('vertex', 'face') else None
    return points, colors


def _check_number_of_faces(path: Path, num_triangles: int) -> None:
    """An OFF file that is cut off within its faces reads as a smaller mesh; its header tells."""
    with open(path, errors='replace') as file:
        counts = re.match(r'\s*OFF\s*(?:#.*\s*)*(\d+)\s+(\d+)', file.read(4096))
    if counts and num_triangles < int(counts[2]):
        raise ValueError(f'it has {num_triangles} triangles, its header announces {counts[2]} faces')


_NAMES = {'_reconstruct', 'scalar', 'ndarray', 'dtype', '_frombuffer'}
_PACKAGES = {'numpy', 'numpy.core.multiarray', 'numpy._core.multiarray', 'numpy.core.numeric', 'numpy._core.numeric',
             'numpy.dtypes'}


class _ArrayUnpickler(pickle.Unpickler):

    def find_class(self, module: str, name: str) -> Any:
        known = module in _PACKAGES and (name in _NAMES or name.endswith('DType'))
        if not known and (module, name) != ('_codecs', 'encode'):
            raise pickle.UnpicklingError(f'it holds a {module}.{name}, and only NumPy arrays are read from such files')
        return super().find_class(module, name)


def load_npy(path: str | Path) -> np.ndarray:
    """Read an npy file, also one of Python dicts of arrays such as OpenShape's.

    ``numpy.load(allow_pickle=True)`` runs whatever code a file asks for; this reads arrays and plain values only.

    Raises:
        ValueError, EOFError, pickle.UnpicklingError: The file is not a whole npy file or holds other objects.
    """
    with open(path, 'rb') as file:
        version = np.lib.format.read_magic(file)
        read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, dtype = read_header(file)
        if not dtype.hasobject:
            file.seek(0)
            return np.load(file)
        array = _ArrayUnpickler(file).load()
    if not isinstance(array, np.ndarray):
        raise ValueError('it holds no array')
    return array.reshape(shape)


def h5_records(path: Path, names: Sequence[str], prefix: str, up_axis: str = 'y') -> list[dict]:
    """Records of the rows of an h5 file with ``data`` (M, N, 3) and ``label`` (M,) or (M, 1).

    Args:
        path: The h5 file.
        names: Names of the labels.
        prefix: Beginning of each ``sample_id``.
        up_axis: The axis that points up.

    Raises:
        ValueError: The file cannot be read, lacks one of both, or has labels that have no name.
    """
    import h5py
    try:
        with h5py.File(path, 'r') as file:
            labels, num_rows = file['label'][()].reshape(-1).astype(int), len(file['data'])
        problem = None if len(labels) == num_rows else f'it has {num_rows} objects but {len(labels)} labels'
        if problem is None and num_rows and not 0 <= labels.min() <= labels.max() < len(names):
            problem = f'its labels go from {labels.min()} to {labels.max()}, but there are {len(names)} class names'
    except Exception as error:  # h5py raises OSError, KeyError or RuntimeError, as the file is broken
        problem = str(error)
    if problem is not None:
        raise ValueError(f'{path} cannot be read: {problem}. It may be cut off; fetch it again.')
    return [dict(sample_id=f'{prefix}/{row}', category=names[label], points_path=str(path), points_index=row,
                 points_key='data', up_axis=up_axis) for row, label in enumerate(labels)]
