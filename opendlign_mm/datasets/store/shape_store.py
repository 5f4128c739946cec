"""A folder of shards: which shards it has, which are finished, and reading and writing them atomically."""
import errno
import hashlib
import json
import os
import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import get_args

from ...source_files import is_error_of_machine
from .description import DESCRIPTION, Layout, check_same_description, read_description, write_description
from .folder_layout import object_files, read_folder_shard, write_folder_metadata, write_folder_shard
from .manifest import Manifest, Row, manifest_row, read_manifest, write_manifest
from .packed_shape import PackedShape, hash_of_files
from .tar_shards import has_tar_end, read_tar_shard, write_tar_shard

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
        ValueError: Its description is damaged.
    """

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root)
        description = read_description(self.root / DESCRIPTION)
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
        description = dict(layout=layout, num_shapes=num_shapes, shapes_per_shard=shapes_per_shard, settings=settings)
        path = Path(root) / DESCRIPTION
        if path.exists() and any((path.parent / 'manifest').glob('[!.]*.parquet')):
            check_same_description(path, description)
        else:
            write_description(path, description)
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

    def read(self, shard: int, images: bool = True) -> Iterator[PackedShape]:
        """Stream the objects of a finished shard.

        Args:
            shard: Number of the shard.
            images: Whether to read the images; without them their bytes are not read from the disk.

        Raises:
            FileNotFoundError: Files are missing.
            ValueError: Files are damaged; the message names them.
        """
        if self.layout == 'shards':
            return read_tar_shard(self.shard_path(shard), images)
        return read_folder_shard(self.shard_path(shard), self.shard_name(shard), images)

    def manifest(self, shard: int) -> Manifest:
        """Read the manifest of a shard.

        Raises:
            FileNotFoundError: The shard is not done.
            ValueError: The manifest is damaged; the message names it.
        """
        path = self.manifest_path(shard)
        if not path.is_file():
            raise FileNotFoundError(f'shard {shard} of {self.root} is not done: there is no {path}. Run the command '
                                    'that makes it again; it makes only what is missing.')
        return read_manifest(path)

    def rows(self, shard: int) -> list[Row]:
        """Return the rows of a shard's manifest: the stored objects, then those that could not be stored."""
        return self.manifest(shard).rows

    def stored_ids(self, shard: int) -> list[str]:
        """Return the names of the objects of a shard, in their order."""
        return [row['sample_id'] for row in self.rows(shard) if not row['problem']]

    def write(self, shard: int, shapes: Sequence[PackedShape], problems: Sequence[Row] = (),
              facts: dict[str, str] | None = None) -> None:
        """Write a shard, then its manifest.

        Args:
            shard: Number of the shard.
            shapes: Objects of the shard.
            problems: Manifest rows of the objects that could not be made; see :func:`problem_row`.
            facts: Further strings to keep with the shard.

        Raises:
            ValueError: Two objects have the same ``sample_id``.
            OSError: The files cannot be written, for example on a full disk; the message says what to do. Earlier
                files are kept.
        """
        twice = [name for name, count in Counter(shape.sample_id for shape in shapes).items() if count > 1]
        if twice:
            raise ValueError(f'shard {shard} of {self.root} has two objects of the sample_id {twice[0]!r}; names must '
                             'be unique')
        with self._naming(shard):
            if self.layout == 'shards':
                write_tar_shard(self.shard_path(shard), shapes)
            else:
                write_folder_shard(self.shard_path(shard), self.shard_name(shard), shapes)
            facts = dict(facts or {}, depth=hash_of_files(shapes, 'depth_files'))
            if any(shape.image_files for shape in shapes):
                facts['images'] = hash_of_files(shapes, 'image_files')
            self._write_manifest(shard, shapes, problems, facts)

    def rewrite_metadata(self, shard: int, shapes: Sequence[PackedShape], facts: dict[str, str]) -> None:
        """Replace the metadata of a shard's objects and add facts; images and depth views stay the same."""
        manifest = self.manifest(shard)
        problems = [row for row in manifest.rows if row['problem']]
        facts = {**manifest.facts, **facts}
        if self.layout == 'shards':
            self.write(shard, shapes, problems, facts)
            return
        with self._naming(shard):
            write_folder_metadata(self.shard_path(shard), self.shard_name(shard), shapes)
            self._write_manifest(shard, shapes, problems, facts)

    def is_done(self, shard: int) -> bool:
        """Return whether a shard is finished and its files have the sizes of the manifest."""
        try:
            manifest = self.manifest(shard)
            rows = [row for row in manifest.rows if not row['problem']]
            if self.layout == 'folder':
                return all(self._bytes(json.loads(row['metadata'])) == row['bytes'] for row in rows)
            if self.shard_path(shard).stat().st_size == int(manifest.facts['bytes']):
                return True
            # The filter was killed between writing the shard and its manifest: all objects are there.
            return has_tar_end(self.shard_path(shard)) and [shape.sample_id for shape in self.read(shard)] == [
                row['sample_id'] for row in rows]
        except (OSError, ValueError, KeyError) as error:
            if is_error_of_machine(error):
                raise
            return False

    def missing(self) -> list[int]:
        """Return the shards that are not finished."""
        return [shard for shard in range(self.num_shards) if not self.is_done(shard)]

    def is_intact(self, shard: int) -> bool:
        """Return whether a finished shard is what was written (layout 'shards'; others are not hashed)."""
        return self.layout != 'shards' or sha256_of_file(
            self.shard_path(shard)) == self.manifest(shard).facts['sha256']

    def verify(self, shard: int) -> None:
        """Raise ValueError that names the shard if :meth:`is_intact` is false."""
        if not self.is_intact(shard):
            raise ValueError(f'{self.shard_path(shard)} is not what was written; remove it and run the command that '
                             'made it again')

    def remove_unfinished(self) -> None:
        """Remove temporary files and folders of killed processes; no other run may be writing."""
        for pattern in ('.*.part*', '.*.old'):
            for path in self.root.rglob(pattern):
                shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)

    def _write_manifest(self, shard: int, shapes: Sequence[PackedShape], problems: Sequence[Row],
                        facts: dict[str, str]) -> None:
        folder = self.layout == 'folder'
        rows = [manifest_row(shape.metadata, self._bytes(shape.metadata) if folder else 0) for shape in shapes]
        rows += problems
        if not folder:
            path = self.shard_path(shard)
            facts = dict(facts, bytes=str(path.stat().st_size), sha256=sha256_of_file(path))
        write_manifest(self.manifest_path(shard), rows, facts)

    @contextmanager
    def _naming(self, shard: int) -> Iterator[None]:
        """Add to errors of writing which shard it is, how many are done, and on a full disk what to do."""
        try:
            yield
        except OSError as error:
            done = sum(self.manifest_path(number).is_file() for number in range(self.num_shards))
            full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
            raise OSError(error.errno, f'shard {shard} cannot be written to {self.root}: {error.strerror or error}. '
                          f'{done} of {self.num_shards} shards are done and kept; '
                          f'{"make room" if full else "fix this"} and run the same command again') from error

    def _bytes(self, metadata: dict) -> int:
        return sum(os.path.getsize(path) for path in object_files(self.root / FOLDER, metadata))


def sha256_of_file(path: str | Path) -> str:
    """Return the SHA-256 of a file's bytes as hexadecimal digits."""
    digest = hashlib.sha256()
    with open(path, 'rb') as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
