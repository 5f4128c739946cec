"""A folder of shards: which shards it has, which are finished, and reading and writing them atomically."""
import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal, get_args

from ...atomic_files import atomic_write
from ..source_files import read_json
from .folder_layout import object_files, read_folder_shard, write_folder_metadata, write_folder_shard
from .manifest import Row, manifest_row, problem_row, read_facts, read_manifest, write_manifest
from .packed_shape import PackedShape
from .tar_shards import has_tar_end, read_tar_shard, write_tar_shard

Layout = Literal['shards', 'folder']
DESCRIPTION = 'store.json'
# The sub-folder of the released layout; DepthAlignedShapes(data_root=ROOT, dataset='shapes') reads it.
FOLDER = 'shapes'


class ShapeStore:
    """Depth views, and perhaps images, of many objects, in shards of consecutive objects.

    ``ROOT/store.json`` describes the store, ``ROOT/manifest/<shard>.parquet`` lists the objects of each finished shard.
    The data is in ``ROOT/shard-<shard>.tar`` (WebDataset) with layout 'shards', and in ``ROOT/shapes/`` as in the
    authors' release with layout 'folder'. A shard is a unit of work: one process writes it, and its manifest last.

    Args:
        root: Folder of a store.

    Raises:
        FileNotFoundError: There is no store at ``root``.
    """

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root)
        description = read_json(self.root / DESCRIPTION, 'tools/project_depth.py and tools/generate_images.py write '
                                'such folders.')
        self.layout: Layout = description['layout']
        self.num_shapes: int = description['num_shapes']
        self.shapes_per_shard: int = description['shapes_per_shard']
        self.settings: dict = description['settings']

    @classmethod
    def create(cls, root: str | Path, layout: Layout, num_shapes: int, shapes_per_shard: int,
               settings: dict) -> 'ShapeStore':
        """Start a store, or open the one that an earlier run with the same settings started.

        Settings may still change as long as no shard is finished.

        Args:
            root: Folder of the store.
            layout: WebDataset shards, or the folders of the release.
            num_shapes: Number of objects of the complete store.
            shapes_per_shard: Number of objects in a shard; the last one may have fewer.
            settings: Everything that determines the contents, as JSON values.

        Raises:
            ValueError: An argument is wrong, or the store was started with other settings; the message names them.
        """
        if layout not in get_args(Layout):
            raise ValueError(f'layout must be one of {get_args(Layout)}, got {layout!r}')
        if num_shapes < 1 or shapes_per_shard < 1:
            raise ValueError(f'a store needs objects, got {num_shapes} objects in shards of {shapes_per_shard}')
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
        """Number of shards of the complete store."""
        return -(-self.num_shapes // self.shapes_per_shard)

    @staticmethod
    def shard_name(shard: int) -> str:
        """Return the part of file names that tells shards apart."""
        return f'{shard:06d}'

    def shard_path(self, shard: int) -> Path:
        """Return the tar file of a shard, or the folder of all shards with layout 'folder'."""
        return self.root / (f'shard-{self.shard_name(shard)}.tar' if self.layout == 'shards' else FOLDER)

    def manifest_path(self, shard: int) -> Path:
        """Return the manifest of a shard."""
        return self.root / 'manifest' / f'{self.shard_name(shard)}.parquet'

    def indices(self, shard: int) -> range:
        """Return the positions of a shard's objects among all objects."""
        begin = shard * self.shapes_per_shard
        return range(begin, min(begin + self.shapes_per_shard, self.num_shapes))

    def read(self, shard: int) -> Iterator[PackedShape]:
        """Stream the objects of a finished shard.

        Raises:
            FileNotFoundError: Files are missing.
            ValueError: Files are damaged; the message names them.
        """
        if self.layout == 'shards':
            return read_tar_shard(self.shard_path(shard))
        return read_folder_shard(self.shard_path(shard), self.shard_name(shard))

    def rows(self, shard: int) -> list[Row]:
        """Read the manifest of a shard: the stored objects in their order, then those that could not be stored."""
        path = self.manifest_path(shard)
        if not path.is_file():
            raise FileNotFoundError(f'shard {shard} of {self.root} is not done: there is no {path}. Run the command '
                                    'that makes it again; it makes only what is missing.')
        return read_manifest(path)

    def facts(self, shard: int) -> dict[str, str]:
        """Read the facts that are kept with a shard."""
        return read_facts(self.manifest_path(shard))

    def write(self, shard: int, shapes: Sequence[PackedShape], problems: dict[str, str] | None = None,
              facts: dict[str, str] | None = None) -> None:
        """Write a shard, then its manifest.

        Args:
            shard: Number of the shard.
            shapes: Objects of the shard.
            problems: sample_id -> why the object is not among ``shapes``.
            facts: Further strings to keep with the shard.

        Raises:
            OSError: The files cannot be written, for example on a full disk; the message says what to do. Earlier
                files are kept.
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
        """Replace the metadata of a shard's objects and add facts; images and depth views stay the same."""
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

    def is_done(self, shard: int) -> bool:
        """Return whether a shard is finished and its files have the sizes of the manifest."""
        path = self.manifest_path(shard)
        try:
            rows = [row for row in read_manifest(path) if not row['problem']] if path.is_file() else None
            if rows is None:
                return False
            if self.layout == 'folder':
                return all(self._bytes(json.loads(row['metadata'])) == row['bytes'] for row in rows)
            if self.shard_path(shard).stat().st_size == int(self.facts(shard)['bytes']):
                return True
            # The filter was killed between writing the shard and its manifest: all objects are there.
            return has_tar_end(self.shard_path(shard)) and [shape.sample_id for shape in self.read(shard)] == [
                row['sample_id'] for row in rows]
        except (OSError, ValueError, KeyError):
            return False

    def missing(self) -> list[int]:
        """Return the shards that are not finished."""
        return [shard for shard in range(self.num_shards) if not self.is_done(shard)]

    def verify(self, shard: int) -> None:
        """Compare a shard with its hash (layout 'shards'). Raises ValueError that names it if a byte differs."""
        if self.layout == 'shards' and sha256_of_file(self.shard_path(shard)) != self.facts(shard)['sha256']:
            raise ValueError(f'{self.shard_path(shard)} is not what was written; remove it and run the command that '
                             'made it again')

    def remove_unfinished(self) -> None:
        """Remove temporary files and folders of killed processes; no other run may be writing."""
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
        return sum(os.path.getsize(path) for path in object_files(self.root / FOLDER, metadata))


def sha256_of_file(path: str | Path) -> str:
    """Return the SHA-256 of a file's bytes as hexadecimal digits."""
    digest = hashlib.sha256()
    with open(path, 'rb') as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _check_same(path: Path, found: dict, wanted: dict) -> None:
    if found == wanted:
        return
    old, new = _flat(found), _flat(wanted)
    changed = [f'{key}: {old.get(key)!r} there, {new.get(key)!r} now' for key in sorted(old.keys() | new.keys())
               if old.get(key) != new.get(key)]
    raise ValueError(f'{path.parent} was started with other settings ({"; ".join(changed[:5])}). Continue with its own '
                     'settings, or choose another folder.')


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
