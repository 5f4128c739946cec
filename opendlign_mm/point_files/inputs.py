"""What a user gives as inputs, expanded to a list of single inputs."""
from __future__ import annotations

import glob
import os
from collections.abc import Sequence
from numbers import Real
from pathlib import Path
from typing import Any

from .addresses import is_address
from .formats import FORMATS
from .frame_folders import is_frame_folder
from .mesh_references import files_of_mesh


def list_inputs(inputs: Any) -> list[Any]:
    """Return the single inputs that ``inputs`` stands for, each of which :func:`read_points` takes.

    Args:
        inputs: One input of :func:`read_points`; a folder, for all files of known formats and folders of RGB-D frames
            in it and below, in alphabetical order, hidden ones left out; a pattern with ``*``, ``?``, ``[`` or ``**``;
            or a list of any of these. A list of rows of numbers is one input. Files that do not exist stay in the list,
            so that the others can go on.

    Raises:
        FileNotFoundError: A pattern matches nothing.
        ValueError: The list is empty, or a folder has no file of a known format. The message names it.
    """
    if isinstance(inputs, (list, tuple)) and not _is_one_array(inputs):
        if not len(inputs):
            raise ValueError('the list of inputs is empty')
        return [single for given in inputs for single in list_inputs(given)]
    if not isinstance(inputs, (str, os.PathLike)) or is_address(inputs):
        return [inputs]
    path = Path(inputs).expanduser()
    if path.is_dir():
        return list(_files_of_folder(path))
    if path.exists() or not glob.has_magic(str(path)):
        return [path]
    found = sorted(Path(match) for match in glob.glob(str(path), recursive=True))
    if not found:
        raise FileNotFoundError(f'no file matches {inputs}')
    return [single for match in found for single in list_inputs(match)]


def _files_of_folder(folder: Path) -> Sequence[Path]:
    """Return the files of known formats and the folders of frames in a folder and below.

    Buffers of .gltf files and what is in a folder of frames are no inputs of their own.
    """
    files = []
    for place, folders, names in os.walk(folder):
        if is_frame_folder(Path(place)):
            files.append(Path(place))
            folders.clear()
            continue
        folders[:] = [name for name in folders if not name.startswith('.')]
        paths = [Path(place) / name for name in names if not name.startswith('.')]
        files += [path for path in paths if path.suffix.lower() in FORMATS and path.is_file()]
    files.sort()
    buffers = {buffer.resolve() for path in files for buffer in files_of_mesh(path)[1:]}
    files = [path for path in files if path.resolve() not in buffers]
    if not files:
        raise ValueError(f'{folder} has no file of a known format ({", ".join(FORMATS)}) and no depth images')
    return files


def _is_one_array(values: Sequence[Any]) -> bool:
    """Return whether a list is rows of numbers rather than a list of inputs."""
    return bool(values) and all(isinstance(row, (list, tuple)) and bool(row) and all(isinstance(value, Real)
                                                                                    for value in row) for row in values)
