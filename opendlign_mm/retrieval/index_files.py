"""Files of an index of shapes: their names, one build at a time, and reading without running code."""
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from mmdet3d.registry import MODELS
from mmengine.config import Config
from mmengine.registry import WEIGHT_INITIALIZERS

from ..atomic_files import exclusive_lock

VECTORS, SHAPES, THUMBNAILS = 'vectors.faiss', 'shapes.jsonl', 'thumbnails.npy'
STORED = 'vectors.npy'  # of compressed indices
ABOUT, CONFIG = 'index.json', 'config.json'
_OLD_CONFIG = 'config.py'  # earlier versions ran it as code
_CONFIG_KEYS = ('default_scope', 'model', 'projection')


def import_faiss() -> Any:
    """Import FAISS, which only retrieval requires."""
    try:
        import faiss
    except ImportError as error:
        raise ImportError("retrieval needs FAISS: pip install faiss-cpu, or 'opendlign_mm[retrieval]'") from error
    return faiss


@contextmanager
def building_index(folder: str | Path, overwrite: bool = False) -> Iterator[None]:
    """Reserve a folder while an index is built for it, which may take hours.

    Args:
        folder: Folder of the index.
        overwrite: Whether an index that is there may be replaced.

    Raises:
        ValueError: There is an index already, or ``folder`` holds something else.
        RuntimeError: Another process builds an index in the same folder.
    """
    folder = Path(folder).resolve()
    check_is_index_or_free(folder)
    with exclusive_lock(folder.with_name(f'.{folder.name}.lock'),
                        f'another process builds an index in {folder}; wait for it or choose another folder'):
        if folder.is_dir() and any(folder.iterdir()) and not overwrite:
            raise ValueError(f'{folder} already has an index; replace it with --overwrite')
        yield


def check_is_index_or_free(folder: str | Path) -> None:
    """Raise ``ValueError`` if ``folder`` exists and holds anything but an index."""
    folder = Path(folder)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir()) and not (folder / ABOUT).is_file()):
        raise ValueError(f'{folder} exists and is not an index of shapes; give another folder')


def check_complete(folder: Path) -> None:
    """Check that all files of an index are there.

    Raises:
        FileNotFoundError: The folder or one of its files is missing.
        ValueError: It is an index of an earlier version.
    """
    missing = [name for name in (ABOUT, VECTORS, SHAPES, THUMBNAILS, CONFIG) if not (folder / name).is_file()]
    if missing == [CONFIG] and (folder / _OLD_CONFIG).is_file():
        raise ValueError(f'{folder} is an index of an earlier version, which would run {_OLD_CONFIG} as code; build '
                         'the index again with tools/retrieve.py build')
    if missing:
        raise FileNotFoundError(f'{folder} is not an index of shapes: it has no {", ".join(missing)}. Build one with '
                                'tools/retrieve.py build')


def read(path: Path, reader: Callable[[Path], Any]) -> Any:
    """Read a file of an index by one of the functions below.

    Raises:
        ValueError: The file is damaged; the message names it.
    """
    try:
        return reader(path)
    except ImportError:
        raise
    except Exception as error:  # FAISS raises RuntimeError, NumPy and JSON various others
        raise ValueError(f'{path} is damaged, build the index again: {error or type(error).__name__}') from error


def read_about(path: Path) -> dict:
    """Read the number of shapes, the identity of the CLIP, and how the embeddings were made."""
    about = json.loads(path.read_text())
    if not isinstance(about['num_shapes'], int) or not isinstance(about.get('clip', {}), dict):
        raise ValueError('it does not tell the number of shapes or the CLIP')
    facts = dict(vectors_bytes=int, recall_sample=int, recall_at_10=float)
    if any(key in about for key in facts) and not all(isinstance(about.get(key), kind) for key, kind in facts.items()):
        raise ValueError(f'an index that is compressed needs {", ".join(facts)}')
    return about


def read_config(path: Path) -> Config:
    """Read the config of the model."""
    contents = json.loads(path.read_text())
    if not isinstance(contents, dict):
        raise ValueError('it is not a JSON object')
    return Config({key: contents[key] for key in _CONFIG_KEYS if key in contents})


def read_shapes(path: Path) -> list[dict]:
    """Read the metadata of the shapes."""
    return [_object(line) for line in path.read_bytes().splitlines()]


class ShapeLines(Sequence):
    """Metadata of the shapes of a large index, of which each line is read when it is asked for.

    Millions of dicts would take more memory than the vectors.

    Args:
        path: File with a JSON object in each line.
    """

    def __init__(self, path: Path) -> None:
        self._path, ends, begin = path, [np.zeros(1, np.int64)], 0
        with path.open('rb') as file:
            while block := file.read(1 << 24):
                ends.append(np.flatnonzero(np.frombuffer(block, np.uint8) == ord('\n')) + begin + 1)
                begin += len(block)
        self._begins = np.concatenate(ends)

    def __len__(self) -> int:
        return len(self._begins) - 1

    def __getitem__(self, row: Any) -> Any:
        if isinstance(row, slice):
            return [self[number] for number in range(*row.indices(len(self)))]
        begin, end = self._begins[range(len(self))[row]:][:2]
        with self._path.open('rb') as file:
            file.seek(begin)
            line = file.read(end - begin)
        return read(self._path, lambda _: _object(line))


def _object(line: bytes) -> dict:
    shape = json.loads(line)
    if not isinstance(shape, dict):
        raise ValueError('a line is not a JSON object')
    return shape


def read_thumbnails(path: Path) -> np.ndarray:
    """Map the thumbnails, uint8 (N, h, w), into memory."""
    thumbnails = np.load(path, mmap_mode='r')
    if thumbnails.ndim != 3 or thumbnails.dtype != np.uint8:
        raise ValueError(f'it must hold uint8 (N, h, w), got {thumbnails.dtype} {thumbnails.shape}')
    return thumbnails


def config_as_json(config: Config) -> str:
    """Return the parts of a config that queries need as JSON.

    Raises:
        ValueError: The config of the model has a value that JSON cannot hold; the message names it.
    """

    def refuse(value: Any) -> None:
        raise ValueError(f'the config of the model has {value!r}, which an index cannot keep: use strings, numbers, '
                         'lists and dicts')

    contents = config.to_dict()
    return json.dumps({key: contents[key] for key in _CONFIG_KEYS if key in contents}, indent=1, default=refuse) + '\n'


def check_types(node: Any) -> None:
    """Check that every ``type`` in the config of a model is the name of a registered component.

    mmengine would import and call anything else that a ``type`` names, for example ``os.system``.

    Raises:
        ValueError: A ``type`` is something else.
    """
    if isinstance(node, dict):
        known = {*MODELS.module_dict, *MODELS.parent.module_dict, *WEIGHT_INITIALIZERS.module_dict}
        if 'type' in node and str(node['type']).removeprefix('mmdet3d.') not in known:
            raise ValueError(f'the index needs {node["type"]!r}, which is not a registered component of a model; '
                             'import the module that registers it, or build the index again')
        node = list(node.values())
    if isinstance(node, list | tuple):
        for child in node:
            check_types(child)
