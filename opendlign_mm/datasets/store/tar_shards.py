"""A shard as one WebDataset tar file: ``<key>.depth_<v>.png``, ``<key>.image_<v>.<format>``, ``<key>.json``."""
import json
import tarfile
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from pathlib import Path

from ...atomic_files import atomic_write
from ...file_keys import file_key
from ...source_files import is_error_of_machine
from .packed_shape import IMAGE_FORMATS, PackedShape


def write_tar_shard(path: Path, shapes: Sequence[PackedShape]) -> None:
    """Write a shard atomically; equal objects give equal bytes."""
    from webdataset import TarWriter
    with atomic_write(path) as unfinished, open(unfinished, 'wb') as stream:
        # Fixed times, owners and order of members.
        with TarWriter(stream, mtime=0, encoder=False) as writer:
            for shape in shapes:
                writer.write(_members(shape))


def read_tar_shard(path: Path, images: bool = True) -> Iterator[PackedShape]:
    """Stream the objects of a shard in their order.

    Args:
        path: The tar file.
        images: Whether to read the images; without them their bytes are skipped in the file.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file is not a shard, or it is damaged or truncated; the message names it.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f'the shard {path} is missing; run the command that made it again')
    try:
        # Without a buffer, so that seeking over an image reads nothing of it.
        with open(path, 'rb', buffering=-1 if images else 0) as stream, tarfile.open(fileobj=stream, mode='r:') as tar:
            for key, members in groupby(tar, lambda member: member.name.partition('.')[0]):
                yield _shape(key, _files(tar, members, images))
    except (tarfile.TarError, EOFError, OSError, ValueError) as error:
        if is_error_of_machine(error):
            raise
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


def _files(tar: tarfile.TarFile, members: Iterable[tarfile.TarInfo], images: bool) -> dict[str, bytes]:
    """Read the files of an object: their names without the key -> contents."""
    files: dict[str, bytes] = {}
    for member in members:
        name = member.name.partition('.')[2]
        if name in files:
            raise ValueError(f"'{member.name}' occurs twice")
        stream = tar.extractfile(member) if images or not name.startswith('image_') else None
        if stream is not None:
            files[name] = stream.read()
    return files


def _shape(key: str, files: dict[str, bytes]) -> PackedShape:
    if 'json' not in files:
        raise ValueError(f"'{key}' has no metadata")
    try:
        metadata = json.loads(files['json'])
    except ValueError as error:
        raise ValueError(f"the metadata of '{key}' are not JSON: {error}") from error
    if not isinstance(metadata, dict) or not isinstance(metadata.get('sample_id'), str):
        raise ValueError(f"the metadata of '{key}' have no sample_id")
    image_format = next((ending for ending in IMAGE_FORMATS if f'image_0.{ending}' in files), 'png')
    return PackedShape(metadata, _numbered(files, 'depth_{}.png'), _numbered(files, f'image_{{}}.{image_format}'),
                       image_format)


def _numbered(files: dict[str, bytes], name: str) -> list[bytes]:
    count = 0
    while name.format(count) in files:
        count += 1
    return [files[name.format(view)] for view in range(count)]
