"""Sources of the image stage: depth views and texts, from a store or from a folder of released depth maps."""
import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ..datasets.released import DEPTH_SUFFIX
from ..datasets.store import PackedShape, ShapeStore, encode_image
from ..datasets.store.folder_layout import depth_path, read_depth_map
from ..datasets.unreadable import Unreadable
from ..file_keys import readable_text, sample_id_of
from ..source_files import is_error_of_machine, read_json, required


class StoredDepthViews:
    """Depth views that ``tools/project_depth.py`` wrote.

    Args:
        store: A store of depth views.

    Raises:
        FileNotFoundError: Shards are missing.
    """

    def __init__(self, store: ShapeStore) -> None:
        self.store, self.num_shapes, self.shapes_per_shard = store, store.num_shapes, store.shapes_per_shard

    def texts(self) -> dict[str, str]:
        """Return sample_id -> text of every object that could be projected."""
        return {row['sample_id']: row['text'] for shard in range(self.store.num_shards)
                for row in self.store.rows(shard) if not row['problem']}

    def read(self, shard: int) -> Iterator[PackedShape | Unreadable]:
        """Stream the objects of a shard."""
        expected = self.store.stored_ids(shard)
        shapes, problem = self.store.read(shard), ''
        for position in range(len(expected)):
            try:
                shape = next(shapes)
            except StopIteration:
                problem = f'{self.store.shard_path(shard)} is truncated; run tools/project_depth.py again'
            except (OSError, ValueError) as error:
                if is_error_of_machine(error):
                    raise
                problem = str(error)
            else:
                yield shape
                continue
            # A generator that raised an error yields nothing more.
            yield from (Unreadable(later, problem) for later in expected[position:])
            return

    def settings(self) -> dict:
        """Return everything that determines the depth views."""
        return dict(num_shapes=self.num_shapes, **self.store.settings)

    def fingerprint(self, shard: int) -> str:
        """Return the hash of a shard's depth views from its manifest."""
        facts = self.store.manifest(shard).facts
        return facts.get('depth') or facts.get('sha256', '')

    def file_state(self, shard: int, sample_id: str) -> str:
        """Return the size and time of the file that has the depth views of an object."""
        path = self.store.shard_path(shard)
        return file_state([path if path.is_file() else depth_path(path, sample_id)])


class ReleasedDepthFolder:
    """A folder of ``<id>_dm.npy`` files as the authors of OpenDlign released them, with a JSON file of texts.

    Args:
        folder: The folder ``depth_map``.
        shapes_per_shard: Number of objects in a shard.

    Raises:
        FileNotFoundError: There is no such folder.
        ValueError: The folder has no depth map.
    """

    def __init__(self, folder: Path, shapes_per_shard: int) -> None:
        self.folder = required(folder, 'Give the folder that tools/project_depth.py wrote, or one of _dm.npy files.')
        self.keys = sorted(path.name[:-len(DEPTH_SUFFIX)] for path in folder.glob(f'*{DEPTH_SUFFIX}'))
        if not self.keys:
            raise ValueError(f'{folder} has no file *{DEPTH_SUFFIX}')
        self.key_of: dict[str, str] = {}
        for key in self.keys:
            other = self.key_of.setdefault(readable_text(sample_id_of(key)), key)
            if other != key:
                raise ValueError(f'{folder}: {other}{DEPTH_SUFFIX} and {key}{DEPTH_SUFFIX} both stand for the object '
                                 f'{sample_id_of(key)!r}; rename one')
        self.num_shapes, self.shapes_per_shard = len(self.keys), shapes_per_shard

    def texts(self) -> dict[str, str]:
        """Return sample_id -> category of files named ``<id>+<category>_dm.npy``; '' for other files."""
        return {sample_id_of(key): sample_id_of(key.rpartition('+')[2]) if '+' in key else '' for key in self.keys}

    def read(self, shard: int) -> Iterator[PackedShape | Unreadable]:
        """Stream the objects of a shard."""
        for key in self._keys(shard):
            try:
                gray = read_depth_map(self._path(key))
                shape = PackedShape(dict(sample_id=sample_id_of(key)), [encode_image(view) for view in gray])
            except (OSError, ValueError) as error:
                if is_error_of_machine(error):
                    raise
                yield Unreadable(readable_text(sample_id_of(key)), str(error))
            else:
                yield shape

    def settings(self) -> dict:
        """Return what determines the depth views, as far as it is known."""
        return dict(num_shapes=self.num_shapes)

    def fingerprint(self, shard: int) -> str:
        """Return a hash of the names and sizes of a shard's files."""
        return _sha256([[key, self._path(key).lstat().st_size] for key in self._keys(shard)])

    def file_state(self, shard: int, sample_id: str) -> str:
        """Return the size and time of the file that has the depth views of an object."""
        return file_state([self._path(self.key_of.get(sample_id, ''))])

    def _keys(self, shard: int) -> list[str]:
        return self.keys[shard * self.shapes_per_shard:(shard + 1) * self.shapes_per_shard]

    def _path(self, key: str) -> Path:
        return self.folder / f'{key}{DEPTH_SUFFIX}'


DepthSource = StoredDepthViews | ReleasedDepthFolder


def open_depth_source(path: str | Path, shapes_per_shard: int = 64) -> DepthSource:
    """Open the depth views at ``path``: a store, a folder ``depth_map``, or a folder that contains one.

    Args:
        path: The folder.
        shapes_per_shard: Number of objects in a shard, for folders of depth maps; a store has its own.

    Raises:
        FileNotFoundError: There is no such folder.
        ValueError: The folder has no depth views.
    """
    path = required(path, 'Make depth views with tools/project_depth.py, or give a folder of _dm.npy files: '
                    '--cfg-options source=DIR.')
    if (path / 'store.json').is_file():
        return StoredDepthViews(ShapeStore(path))
    return ReleasedDepthFolder(path / 'depth_map' if (path / 'depth_map').is_dir() else path, shapes_per_shard)


def texts_of(source: DepthSource, metadata: str | Path | None = None) -> dict[str, str]:
    """Return the text of each object.

    Args:
        source: Depth views; texts that they come with are the default.
        metadata: JSON file ``{sample_id: text}`` or ``{sample_id: {"text": text, ...}}``.

    Raises:
        ValueError: Objects have no text; the message names them.
    """
    texts = source.texts()
    if metadata is not None:
        given = read_json(metadata, 'It must be {sample_id: text}.')
        if not isinstance(given, dict):
            raise ValueError(f'{metadata} must be a JSON object {{sample_id: text}}, got a {type(given).__name__}')
        texts = {name: _text(given.get(name)) or text for name, text in texts.items()}
    missing: list[str] = sorted(name for name, text in texts.items() if not text)
    if missing:
        raise ValueError(f'{len(missing)} of {len(texts)} objects have no text for their prompts: '
                         f'{", ".join(missing[:5])}{", ..." * (len(missing) > 5)}. Give a JSON file '
                         f'{{sample_id: text}} that has them: --cfg-options metadata=FILE'
                         f'{f" (now {metadata})" if metadata else ""}.')
    return texts


def check_same_texts(store: ShapeStore, texts: dict[str, str]) -> None:
    """Raise ValueError if finished shards of a store of images were made with other texts than ``texts``."""
    changed = []
    for shard in range(store.num_shards):
        try:
            rows = store.rows(shard)
        except (FileNotFoundError, ValueError):  # such a shard will be made again
            continue
        changed += [(row['sample_id'], row['text'], texts[row['sample_id']]) for row in rows
                    if not row['problem'] and texts.get(row['sample_id'], row['text']) != row['text']]
    if changed:
        name, old, new = changed[0]
        raise ValueError(f'{len(changed)} objects of {store.root} were made with other texts, for example {name}: '
                         f'{old!r} there, {new!r} now. Continue with their own texts (metadata), or choose another '
                         'folder.')


def file_state(paths: Sequence[str | Path]) -> str:
    """Return a hash of the names, sizes and modification times of files, which may be missing."""
    states = []
    for path in paths:
        try:
            status = os.stat(path)
        except (OSError, ValueError):
            states.append([ascii(str(path))])
        else:
            states.append([ascii(str(path)), status.st_size, status.st_mtime_ns])
    return _sha256(states)


def _sha256(value: Any) -> str:
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()


def _text(entry: Any) -> str:
    return str(entry.get('text') or '').strip() if isinstance(entry, dict) else str(entry or '').strip()
