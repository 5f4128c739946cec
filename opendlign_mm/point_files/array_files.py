"""Arrays of points in .npy, .npz and .h5 files, read without running code or following links out of the file."""
import io
import math
import os
import posixpath
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from .restricted_pickle import load_pickle

# Points of one shape, and objects of one file: more are a mistake, or a small file that would fill the memory.
MAX_POINTS = 20_000_000
MAX_OBJECTS = 10_000_000


class RawCloud(NamedTuple):
    """Points as a file has them, not checked yet.

    Attributes:
        points: Numbers (N, >=3), x, y, z first.
        colors: uint8 (N, 3), RGB, or None.
        is_mesh: Whether the points were sampled from a surface.
    """
    points: np.ndarray
    colors: np.ndarray | None = None
    is_mesh: bool = False


def load_npy(path: str | Path) -> np.ndarray:
    """Read an npy file, also one of Python dicts of arrays such as OpenShape's.

    ``numpy.load(allow_pickle=True)`` runs whatever code a file asks for; this reads arrays and plain values only.

    Raises:
        ValueError, EOFError, pickle.UnpicklingError: The file is not a whole npy file or holds other objects.
    """
    with open(path, 'rb') as file:
        shape, dtype = _npy_header(file, os.fstat(file.fileno()).st_size)
        if not dtype.hasobject:
            file.seek(0)
            return np.load(file)
        array = load_pickle(file)
    if not isinstance(array, np.ndarray):
        raise ValueError('it does not hold an array')
    return array.reshape(shape)


def read_npz(path: str | Path) -> RawCloud:
    """Return the points: the array ``points``, ``xyz``, ``pos`` or the only one, and ``colors`` or ``rgb``.

    Raises:
        ValueError, zipfile.BadZipFile: The file has no such array, one of Python objects, or one that announces more
            than it holds.
    """
    with zipfile.ZipFile(path) as archive:
        names = {name.removesuffix('.npy'): name for name in archive.namelist() if name.endswith('.npy')}
        key = next((key for key in ('points', 'xyz', 'pos') if key in names), None)
        if key is None and len(names) == 1:
            key = next(iter(names))
        if key is None:
            raise ValueError(f"it has no array 'points' or 'xyz', only {', '.join(sorted(names)) or 'nothing'}")
        color_key = next((key for key in ('colors', 'rgb') if key in names), None)
        points = _npy_of_archive(archive, names[key])
        colors = None if color_key is None else _npy_of_archive(archive, names[color_key])
    return RawCloud(points, None if colors is None else colors_as_bytes(colors, len(points)))


def _npy_of_archive(archive: zipfile.ZipFile, name: str) -> np.ndarray:
    size = archive.getinfo(name).file_size
    if size > MAX_POINTS * 8 * 8:
        raise ValueError(f'its array {name} has {size} bytes, and at most {MAX_POINTS * 8 * 8} are read')
    file = io.BytesIO(archive.read(name))
    _, dtype = _npy_header(file, size)
    if dtype.hasobject:
        raise ValueError(f'its array {name} holds Python objects, and only numbers are read')
    file.seek(0)
    return np.load(file)


def _npy_header(file: BinaryIO, size: int) -> tuple[tuple[int, ...], np.dtype]:
    """Return shape and dtype of an open npy file of ``size`` bytes, which holds as many numbers as it announces."""
    version = np.lib.format.read_magic(file)
    read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = read_header(file)
    announced = math.prod(shape) * dtype.itemsize
    if not dtype.hasobject and announced > size - file.tell():
        raise ValueError(f'its header announces {announced} bytes of values, but it has fewer')
    return shape, dtype


def points_of_entry(entry: Any) -> tuple[np.ndarray, np.ndarray | None]:
    """Return the points and colors of an array (N, >=3), or of a dict ``xyz`` (N, 3), ``rgb`` (N, 3) as in OpenShape.

    Raises:
        ValueError: The dict has no ``xyz``, or colors that are not those of its points.
    """
    if isinstance(entry, np.ndarray) and entry.dtype == object and entry.size == 1:
        entry = entry.item()
    if not isinstance(entry, dict):
        return entry, None
    if 'xyz' not in entry:
        raise ValueError(f"it has no 'xyz', only {', '.join(map(str, entry)) or 'nothing'}")
    points, colors = np.asarray(entry['xyz']), entry.get('rgb')
    return points, None if colors is None else colors_as_bytes(np.asarray(colors), len(points))


def colors_as_bytes(colors: np.ndarray, count: int) -> np.ndarray:
    """Return colors (N, >=3) as uint8 (N, 3); floats up to 1 are shares, all others have 255 as their highest value.

    Raises:
        ValueError: There are not ``count`` colors, or they are not finite numbers.
    """
    if colors.ndim != 2 or colors.shape[1] < 3 or len(colors) != count:
        raise ValueError(f'it has {count} points but colors of shape {colors.shape}')
    colors = colors[:, :3]
    if colors.dtype.kind not in 'iuf':
        raise ValueError(f'its colors must be numbers, got {colors.dtype}')
    bad = int((~np.isfinite(colors)).any(axis=1).sum())
    if bad:
        raise ValueError(f'{bad} of its {count} colors are NaN or infinite')
    if colors.dtype.kind == 'f' and (colors.size == 0 or colors.max() <= 1):
        colors = colors * 255
    return np.clip(np.rint(colors), 0, 255).astype(np.uint8)


def read_h5(path: Path, key: str, index: int | None = None) -> np.ndarray:
    """Read a dataset of an h5 file, or its row ``index``.

    Raises:
        ValueError: There is no such dataset, its values are in another file, or there are too many.
        OSError, KeyError, RuntimeError: The file is damaged.
    """
    import h5py
    with h5py.File(path, 'r') as file:
        values = _own_dataset(file, key)
        count = math.prod(values.shape[0 if index is None else 1:])
        if count > 3 * MAX_POINTS:
            raise ValueError(f'it announces {count} values in {key!r}, and at most {3 * MAX_POINTS} are read')
        return values[()] if index is None else values[index]


def h5_records(path: Path, names: Sequence[str], prefix: str, up_axis: str = 'y') -> list[dict]:
    """Return the records of the rows of an h5 file with ``data`` (M, N, 3) and ``label`` (M,) or (M, 1).

    Args:
        path: The h5 file.
        names: Names of the labels.
        prefix: Beginning of each ``sample_id``.
        up_axis: The axis that points up.

    Raises:
        ValueError: The file cannot be read, lacks one of both, or has labels that have no name; the message names it.
    """
    try:
        labels, problem = _labels_of_rows(path, len(names))
    except Exception as error:  # h5py raises OSError, KeyError or RuntimeError, depending on the damage
        labels, problem = None, str(error)
    if problem is not None:
        raise ValueError(f'{path} cannot be read: {problem}. It may be truncated; fetch it again.')
    return [dict(sample_id=f'{prefix}/{row}', category=names[label], points_path=str(path), points_index=row,
                 points_key='data', up_axis=up_axis) for row, label in enumerate(labels)]


def _labels_of_rows(path: Path, num_names: int) -> tuple[np.ndarray, str | None]:
    """Return the labels of the rows, and what is wrong with them."""
    import h5py
    with h5py.File(path, 'r') as file:
        num_rows, values = len(_own_dataset(file, 'data')), _own_dataset(file, 'label')
        if values.size > MAX_OBJECTS:
            raise ValueError(f'it announces {values.size} labels, and at most {MAX_OBJECTS} are read')
        if values.dtype.kind not in 'iuf':
            raise ValueError(f'its labels must be numbers, got {values.dtype}')
        labels = values[()].reshape(-1).astype(int)
    if len(labels) != num_rows:
        return labels, f'it has {num_rows} objects but {len(labels)} labels'
    if num_rows and not 0 <= labels.min() <= labels.max() < num_names:
        return labels, f'its labels go from {labels.min()} to {labels.max()}, but there are {num_names} class names'
    return labels, None


def _own_dataset(file: Any, key: str) -> Any:
    """Return a dataset of an open h5 file whose values are in the file itself.

    HDF5 can refer to any other file of the machine: by links, by external storage and by virtual datasets.
    """
    import h5py
    values = file.get(_path_without_links(file, key))
    if not isinstance(values, h5py.Dataset):
        raise ValueError(f'it has no dataset {key!r}, only {", ".join(file) or "nothing"}')
    if values.is_virtual or values.external:
        raise ValueError(f'the values of its dataset {key!r} are in other files, which are not read')
    if values.shape is None:
        raise ValueError(f'its dataset {key!r} is empty')
    if values.size and not values.id.get_storage_size():
        raise ValueError(f'it announces {values.size} values in {key!r}, but holds none')
    return values


def _path_without_links(file: Any, path: str, links: int = 0) -> str:
    import h5py
    current = '/'
    for part in filter(None, path.split('/')):
        current = posixpath.join(current, part)
        link = file.get(current, getlink=True)
        if isinstance(link, h5py.ExternalLink) or links > 8:
            raise ValueError(f'its {current!r} is a link to another file, which is not followed, or to itself')
        if isinstance(link, h5py.SoftLink):
            current = _path_without_links(file, posixpath.join(posixpath.dirname(current), link.path), links + 1)
    return current
