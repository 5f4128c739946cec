"""A shard as one WebDataset tar file: ``<key>.depth_<v>.png``, ``<key>.image_<v>.<format>``, ``<key>.json``."""
import json
import os
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from ...atomic_files import atomic_write
from ...file_keys import file_key
from .packed_shape import IMAGE_FORMATS, PackedShape


def write_tar_shard(path: Path, shapes: Sequence[PackedShape]) -> None:
    """Write a shard atomically; equal objects give equal bytes."""
    from webdataset import TarWriter
    with atomic_write(path) as unfinished, open(unfinished, 'wb') as stream:
        # Fixed times, owners and order of members.
        with TarWriter(stream, mtime=0, encoder=False) as writer:
            for shape in shapes:
                writer.write(_members(shape))
        # Renaming must not overtake a write that fails late, e.g. on a full network disk.
        stream.flush()
        os.fsync(stream.fileno())


def read_tar_shard(path: Path) -> Iterator[PackedShape]:
    """Stream the objects of a shard in their order.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file is not a shard, or it is truncated; the message names it.
    """
    from webdataset.tariterators import group_by_keys, tar_file_iterator
    if not Path(path).is_file():
        raise FileNotFoundError(f'the shard {path} is missing; run the command that made it again')
    try:
        with open(path, 'rb') as stream:
            files = (dict(file, __url__=str(path)) for file in tar_file_iterator(stream))
            for sample in group_by_keys(files):
                yield _shape(sample, path)
    except (tarfile.TarError, EOFError, OSError) as error:
        raise ValueError(f'{path} is damaged or truncated ({error}); run the command that made it again, which '
                         'replaces damaged shards') from error


def has_tar_end(path: Path) -> bool:
    """Return whether a file ends like a tar file: in whole records, with two empty blocks."""
    size = path.stat().st_size
    if not size or size % tarfile.RECORDSIZE:
        return False
    with open(path, 'rb') as stream:
        stream.seek(-2 * tarfile.BLOCKSIZE, 2)
        return not any(stream.read())


def _members(shape: PackedShape) -> dict:
    members = {'__key__': file_key(shape.sample_id)}
    members.update({f'depth_{view}.png': file for view, file in enumerate(shape.depth_files)})
    members.update({f'image_{view}.{shape.image_format}': file for view, file in enumerate(shape.image_files)})
    members['json'] = json.dumps(shape.metadata, sort_keys=True).encode()
    return members


def _shape(sample: dict, path: Path) -> PackedShape:
    if 'json' not in sample:
        raise ValueError(f"{path}: '{sample['__key__']}' has no metadata; the shard is damaged or truncated. Run the "
                         'command that made it again.')
    image_format = next((ending for ending in IMAGE_FORMATS if f'image_0.{ending}' in sample), 'png')
    return PackedShape(json.loads(sample['json']), _numbered(sample, 'depth_{}.png'),
                       _numbered(sample, f'image_{{}}.{image_format}'), image_format)


def _numbered(sample: dict, name: str) -> list[bytes]:
    count = 0
    while name.format(count) in sample:
        count += 1
    return [sample[name.format(view)] for view in range(count)]
