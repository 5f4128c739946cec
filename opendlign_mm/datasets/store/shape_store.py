"""A folder of shards: which there are, which are done, and reading and writing them whole or not at all."""
import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from ...atomic_files import atomic_write
from ..source_files import read_json
from .folder_layout import folder_files, read_folder_shard, write_folder_metadata, write_folder_shard
from .manifest import Row, manifest_row, problem_row, read_facts, read_manifest, write_manifest
from .packed_shape import PackedShape
from .tar_shards import has_its_end, read_tar_shard, write_tar_shard

LAYOUTS = ('shards', 'folder')
DESCRIPTION = 'store.json'
# The sub-folder of the released layout; DepthAlignedShapes(data_root=ROOT, dataset='shapes') reads it.
FOLDER = 'shapes'


class ShapeStore:
    """Depth views, and perhaps images, of many objects, in shards of consecutive objects.

    ``ROOT/store.json`` says what the store is, ``ROOT/manifest/<shard>.parquet`` what each finished shard holds. With
    layout 'shards' the data is in ``ROOT/shard-<shard>.tar`` (WebDataset), with 'folder' in ``ROOT/shapes/`` as in the
    authors' release. A shard is a unit of work: it is written by one process, and its manifest last.

    Args:
        root: Folder of a store.

    Raises:
        FileNotFoundError: There is no store at ``root``.
    """

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root)
        description = read_json(self.root / DESCRIPTION, 'tools/project_depth.py and tools/generate_images.py write '
                                'such folders.')
        self.layout: str = description['layout']
        self.num_shapes: int = description['num_shapes']
        self.shapes_per_shard: int = description['shapes_per_shard']
        self.settings: dict = description['settings']

    @classmethod
    def create(cls, root: str | Path, layout: str, num_shapes: int, shapes_per_shard: int,
               settings: dict) -> 'ShapeStore':
        """Begin a store, or open the one that an earlier run with the same settings began.

        One of which no shard is done may still change its settings: what a first try is for.

        Args:
            root: Folder of the store.
            layout: 'shards' or 'folder'.
            num_shapes: Objects that it is to hold.
            shapes_per_shard: Objects of a shard; the last one may have fewer.
            settings: All that decides what is stored, as JSON holds it.

        Raises:
            ValueError: An argument is wrong, or a store with other settings is there; the message names them.
        """
        if layout not in LAYOUTS:
            raise ValueError(f'layout must be one of {LAYOUTS}, got {layout!r}')
        if num_shapes < 1 or shapes_per_shard < 1:
            raise ValueError(f'a store needs objects: {num_shapes} of them in shards of {shapes_per_shard}')
        description = json.loads(json.dumps(dict(
            layout=layout, num_shapes=num_shapes, shapes_per_shard=shapes_per_shard, settings=settings), default=repr))
        path = Path(root) / DESCRIPTION
        if path.exists() and any((path.parent / 'manifest').glob('[!.]*.parquet')):
            _check_same(path, read_json(path, 'Remove it and run the command again.'), description)
        else:
            with atomic_write(path) as unfinished:
                unfinished.write_text(json.dumps(description, indent=1, sort_keys=True))
        return cls(root)

    @property
    def num_shards(self) -> int:
        return -(-self.num_shapes // self.shapes_per_shard)

    @staticmethod
    def shard_name(shard: int) -> str:
        return f'{shard:06d}'

    def shard_path(self, shard: int) -> Path:
        """The tar file of a shard, or the folder of all of them."""
        return self.root / (f'shard-{self.shard_name(shard)}.tar' if self.layout == 'shards' else FOLDER)

    def manifest_path(self, shard: int) -> Path:
        return self.root / 'manifest' / f'{self.shard_name(shard)}.parquet'

    def indices(self, shard: int) -> range:
        """The positions of a shard's objects among all."""
        begin = shard * self.shapes_per_shard
        return range(begin, min(begin + self.shapes_per_shard, self.num_shapes))

    def write(self, shard: int, shapes: Sequence[PackedShape], problems: dict[str, str] | None = None,
              facts: dict[str, str] | None = None) -> None:
        """Write a shard, then its manifest.

        Args:
            shard: Number of the shard.
            shapes: Its objects.
            problems: sample_id -> why it is not among them.
            facts: Further texts to keep with the shard.

        Raises:
            OSError: The files cannot be written, for example on a full disk; the message says what to do. What was
                there before is still there.
        """
        try:
            if self.layout == 'shards':
                write_tar_shard(self.shard_path(shard), shapes)
            else:
                write_folder_shard(self.shard_path(shard), self.shard_name(shard), shapes)
            self._write_manifest(shard, shapes, problems or {}, facts or {})
        except OSError as error:
            raise _no_space(error, self, shard) from error

    def rewrite_metadata(self, shard: int, shapes: Sequence[PackedShape], facts: dict[str, str]) -> None:
        """Replace the metadata of a shard's objects, whose files stay as they are."""
        problems = {row['sample_id']: row['problem'] for row in self.rows(shard) if row['problem']}
        facts = {**self.facts(shard), **facts}
        if self.layout == 'shards':
            self.write(shard, shapes, problems, facts)
            return
        try:
            write_folder_metadata(self.shard_path(shard), self.shard_name(shard), shapes)
            self._write_manifest(shard, shapes, problems, facts)
        except OSError as error:
            raise _no_space(error, self, shard) from error

    def read(self, shard: int) -> Iterator[PackedShape]:
        """Stream the objects of a finished shard.

        Raises:
            FileNotFoundError: Files are missing.
            ValueError: They are damaged; the message names them.
        """
        if self.layout == 'shards':
            return read_tar_shard(self.shard_path(shard))
        return read_folder_shard(self.shard_path(shard), self.shard_name(shard))

    def rows(self, shard: int) -> list[Row]:
        """The manifest of a shard: a row an object, in their order, then those that could not be made."""
        path = self.manifest_path(shard)
        if not path.is_file():
            raise FileNotFoundError(f'shard {shard} of {self.root} is not done: there is no {path}. Run the command '
                                    'that makes it again; it does only what is missing.')
        return read_manifest(path)

    def facts(self, shard: int) -> dict[str, str]:
        """The texts kept with a shard."""
        return read_facts(self.manifest_path(shard))

    def is_done(self, shard: int) -> bool:
        """Whether a shard is there, whole as far as the sizes of its files tell."""
        path = self.manifest_path(shard)
        try:
            rows = [row for row in read_manifest(path) if not row['problem']] if path.is_file() else None
            if rows is None:
                return False
            if self.layout == 'folder':
                return all(self._bytes(json.loads(row['metadata'])) == row['bytes'] for row in rows)
            if self.shard_path(shard).stat().st_size == int(self.facts(shard)['bytes']):
                return True
            # Killed between a filtered shard and its manifest: the objects are all there.
            return has_its_end(self.shard_path(shard)) and [shape.sample_id for shape in self.read(shard)] == [
                row['sample_id'] for row in rows]
        except (OSError, ValueError, KeyError):
            return False

    def missing(self) -> list[int]:
        """Shards that are not done."""
        return [shard for shard in range(self.num_shards) if not self.is_done(shard)]

    def verify(self, shard: int) -> None:
        """Compare a shard with its hash. Raises ``ValueError`` that names it if a byte differs (layout 'shards')."""
        if self.layout == 'shards' and sha256_of_file(self.shard_path(shard)) != self.facts(shard)['sha256']:
            raise ValueError(f'{self.shard_path(shard)} is not what was written; remove it and run the command that '
                             'made it again')

    def remove_unfinished(self) -> None:
        """Remove temporary files and folders that killed processes left; no other run may be writing."""
        import shutil
        for pattern in ('.*.part*', '.*.old'):
            for path in self.root.rglob(pattern):
                shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)

    def _write_manifest(self, shard: int, shapes: Sequence[PackedShape], problems: dict[str, str],
                        facts: dict[str, str]) -> None:
        folder = self.layout == 'folder'
        rows = [manifest_row(shape.metadata, self._bytes(shape.metadata) if folder else 0) for shape in shapes]
        rows += [problem_row(sample_id, problem) for sample_id, problem in problems.items()]
        if not folder:
            path = self.shard_path(shard)
            facts = dict(facts, bytes=str(path.stat().st_size), sha256=sha256_of_file(path))
        write_manifest(self.manifest_path(shard), rows, facts)

    def _bytes(self, metadata: dict) -> int:
        return sum(os.path.getsize(path) for path in folder_files(self.root / FOLDER, metadata))


def sha256_of_file(path: str | Path) -> str:
    """SHA-256 of a file's bytes, as hexadecimal digits."""
    with open(path, 'rb') as stream:
        return hashlib.file_digest(stream, 'sha256').hexdigest() if hasattr(hashlib, 'file_digest') else hashlib.sha256(
            stream.read()).hexdigest()


def _check_same(path: Path, found: dict, wanted: dict) -> None:
    if found == wanted:
        return
    old, new = _flat(found), _flat(wanted)
    changed = [f'{key}: {old.get(key)!r} there, {new.get(key)!r} now' for key in sorted(old.keys() | new.keys())
               if old.get(key) != new.get(key)]
    raise ValueError(f'{path.parent} was begun with other settings ({"; ".join(changed[:5])}). Go on with the settings '
                     'it was begun with, or choose another folder.')


def _flat(node, name: str = '') -> dict:
    if not isinstance(node, dict):
        return {name: node}
    flat = {}
    for key, value in node.items():
        flat.update(_flat(value, f'{name}.{key}' if name else key))
    return flat


def _no_space(error: OSError, store: ShapeStore, shard: int) -> OSError:
    done = sum(store.manifest_path(number).is_file() for number in range(store.num_shards))
    return OSError(error.errno, f'shard {shard} cannot be written to {store.root}: {error.strerror or error}. '
                   f'{done} of {store.num_shards} shards are done and kept; make room and run the same command again')
