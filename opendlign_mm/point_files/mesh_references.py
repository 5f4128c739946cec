"""Files that a mesh file refers to: the buffers of glTF, and materials and textures."""
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

_HEADER_BYTES = 65536  # of a PLY file


def files_of_mesh(path: str | Path, materials: bool = False) -> list[Path]:
    """Return the files that decide about a shape: the file itself first, then those that it refers to.

    Args:
        path: A mesh file or any other.
        materials: Whether colors matter, too: files of materials and textures follow those of the points, which are
            the buffers of a .gltf file. An .obj file is read for that.

    Returns:
        The files, whether they exist or not; what a damaged file refers to is left out.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix not in ('.gltf', *(('.glb', '.obj', '.ply') if materials else ())) or not path.is_file():
        return [path]
    try:
        if suffix == '.obj':
            names = list(_references_of_obj(path))
        elif suffix == '.ply':
            names = _values(_beginning(path, _HEADER_BYTES).partition(b'end_header')[0], rb'comment[ \t]+texturefile')
        else:
            names = list(_references_of_gltf(path, ('buffers', *(('images', ) if materials else ()))))
    except (OSError, ValueError):
        return [path]
    return [path, *(path.parent / name for name in names)]


def _references_of_gltf(path: Path, kinds: tuple[str, ...]) -> Iterator[str]:
    header = gltf_header(path)
    for kind in kinds:
        for entry in json_objects(header.get(kind)):
            uri = entry.get('uri')
            if isinstance(uri, str) and 'base64,' not in uri:
                yield unquote(uri)


def _references_of_obj(path: Path) -> Iterator[str]:
    for library in _values(path.read_bytes(), rb'mtllib'):
        yield library
        file = path.parent / library
        if file.is_file():
            folder = Path(library).parent
            # Names are relative to the mesh, as trimesh reads them, or to the library.
            for texture in _values(file.read_bytes(), rb'map_kd'):
                yield texture
                if folder != Path():
                    yield str(folder / texture)


def _values(text: bytes, key: bytes) -> list[str]:
    """Return what follows a key at the beginning of lines, to their ends: names of files may have blanks."""
    found = re.findall(rb'^[ \t]*' + key + rb'[ \t]([^\r\n]+)', text, re.MULTILINE | re.IGNORECASE)
    return [os.fsdecode(value.strip()).replace('\\', '/') for value in found if value.strip() and b'\0' not in value]


def _beginning(path: Path, size: int) -> bytes:
    with open(path, 'rb') as file:
        return file.read(size)


def gltf_header(path: Path) -> dict:
    """Return the JSON object of a .gltf or .glb file.

    Raises:
        ValueError: The file is damaged.
    """
    text = path.read_bytes()
    if path.suffix.lower() == '.glb':
        length = int.from_bytes(text[12:16], 'little')
        if text[:4] != b'glTF' or 20 + length > len(text):
            raise ValueError('it is not a whole binary glTF file')
        text = text[20:20 + length]
    header = json.loads(text)
    if not isinstance(header, dict):
        raise ValueError('its header is not a JSON object')
    return header


def json_objects(value: Any) -> Iterator[dict]:
    """Yield the items of a list of JSON objects, none for None; a damaged file may have anything in its place.

    Raises:
        ValueError: It is something else.
    """
    if value is not None and not (isinstance(value, list) and all(isinstance(item, dict) for item in value)):
        raise ValueError('its header is not that of a glTF file')
    yield from value or ()
