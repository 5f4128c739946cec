"""Which file formats are read, by which reader, and what their standards say of axes and units."""
from collections.abc import Callable
from pathlib import Path
from typing import Literal, NamedTuple, TypeVar

import numpy as np

from ..source_files import is_error_of_machine
from .array_files import RawCloud, load_npy, points_of_entry, read_npz
from .cloud_files import read_las, read_pcd, read_raw, read_text_cloud, split_columns
from .mesh_files import read_ply, sample_mesh

Read = TypeVar('Read')


class Format(NamedTuple):
    """What the standard of a file format says.

    Attributes:
        up: Axis that points up; None where the standard leaves it open.
        units: Unit of its coordinates; None where the standard leaves it open.
    """
    up: Literal['y', 'z'] | None = None
    units: Literal['m'] | None = None


FORMATS = {
    '.ply': Format(), '.pcd': Format(), '.xyz': Format(), '.txt': Format(), '.csv': Format(), '.pts': Format(),
    '.npy': Format(), '.npz': Format(), '.las': Format('z', 'm'), '.laz': Format('z', 'm'), '.bin': Format(),
    '.obj': Format(), '.off': Format(), '.stl': Format(), '.glb': Format('y', 'm'), '.gltf': Format('y', 'm')}
TEXT_FORMATS = ('.xyz', '.txt', '.csv', '.pts')


def read_cloud(path: Path, num_points: int | None, random: np.random.Generator, dims: int | None = None) -> RawCloud:
    """Read a file of one of :data:`FORMATS`; the points are not checked.

    Args:
        path: The file.
        num_points: Number of points on the surface of a mesh, default 10,000.
        random: Source of their places.
        dims: Number of values of a point of a .bin file.

    Raises:
        ValueError: The file cannot be read; the message names it.
    """
    def read() -> RawCloud:
        suffix = path.suffix.lower()
        if suffix == '.npy':
            points, colors = points_of_entry(load_npy(path))
            return RawCloud(points, colors) if colors is not None else split_columns(np.asarray(points))
        if suffix == '.npz':
            return read_npz(path)
        if suffix == '.pcd':
            return read_pcd(path)
        if suffix in ('.las', '.laz'):
            return read_las(path)
        if suffix == '.bin':
            return read_raw(path, dims)
        if suffix in TEXT_FORMATS:
            return read_text_cloud(path)
        return (read_ply if suffix == '.ply' else sample_mesh)(path, num_points, random)

    return naming(path, read)


def naming(source: str | Path, read: Callable[[], Read]) -> Read:
    """Return the result of a reader, or raise one ``ValueError`` that names the source, whatever the library raised.

    Errors of the machine, such as a full memory, pass as they are.
    """
    try:
        return read()
    except Exception as error:  # each library has errors of its own
        if is_error_of_machine(error):
            raise
        problem = str(error) or type(error).__name__
    hint = '. It may be truncated or not what its ending says.' if isinstance(source, Path) else ''
    raise ValueError(f'{source} cannot be read: {problem}{hint}')
