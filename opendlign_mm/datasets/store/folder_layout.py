"""A shard as loose files, in the layout of the data that the authors of OpenDlign released.

``depth_map/<key>_dm.npy`` is a uint8 array (V, H, W, 3), ``depth_align_img/<key>/<v>.png`` are the images, and
``metadata/<shard>.json`` holds the metadata of the shard's objects.
"""
import io
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from ...atomic_files import atomic_folder, atomic_write
from ...file_keys import file_key
from ...source_files import read_json, required
from ..released import read_depth_views
from .packed_shape import PackedShape, encode_image


def depth_path(root: Path, sample_id: str) -> Path:
    """Return the file of an object's depth views."""
    return root / 'depth_map' / f'{file_key(sample_id)}_dm.npy'


def image_folder(root: Path, sample_id: str) -> Path:
    """Return the folder of an object's images."""
    return root / 'depth_align_img' / file_key(sample_id)


def object_files(root: Path, metadata: dict) -> list[Path]:
    """Return all files of an object."""
    folder = image_folder(root, metadata['sample_id'])
    return [depth_path(root, metadata['sample_id'])] + [
        folder / f'{view}.png' for view in range(number_of_images(metadata))]


def number_of_images(metadata: dict) -> int:
    """Return the number of images of an object: renderings, or generated ones, which have a seed each."""
    return metadata.get('num_images') or len(metadata.get('seeds') or ())


def write_folder_shard(root: Path, name: str, shapes: Sequence[PackedShape]) -> None:
    """Write the files of a shard; the depth map, the images and the metadata appear atomically, each on its own."""
    for shape in shapes:
        depth_map = io.BytesIO()  # NumPy's own writing raises errors without an errno
        np.save(depth_map, np.repeat(shape.depth_views()[..., None], 3, axis=-1))
        with atomic_write(depth_path(root, shape.sample_id)) as unfinished:
            unfinished.write_bytes(depth_map.getvalue())
        if shape.image_files:
            if shape.image_format != 'png':
                raise ValueError("the released folder layout holds PNG images: set image_format='png'")
            with atomic_folder(image_folder(root, shape.sample_id)) as unfinished:
                for view, file in enumerate(shape.image_files):
                    (unfinished / f'{view}.png').write_bytes(file)
    write_folder_metadata(root, name, shapes)


def write_folder_metadata(root: Path, name: str, shapes: Sequence[PackedShape]) -> None:
    """Write the metadata of a shard's objects."""
    with atomic_write(root / 'metadata' / f'{name}.json') as unfinished:
        unfinished.write_text(json.dumps([shape.metadata for shape in shapes], sort_keys=True, indent=1))


def read_folder_shard(root: Path, name: str, images: bool = True) -> Iterator[PackedShape]:
    """Stream the objects of a shard in their order.

    Args:
        root: Folder of the layout.
        name: Name of the shard.
        images: Whether to read the images.

    Raises:
        FileNotFoundError: A file is missing.
        ValueError: A file is damaged; the message names it. See also :func:`read_depth_map`.
    """
    remedy = 'Run the command that made it again.'
    path = root / 'metadata' / f'{name}.json'
    entries = read_json(path, remedy)
    if not isinstance(entries, list) or not all(
            isinstance(entry, dict) and isinstance(entry.get('sample_id'), str) for entry in entries):
        raise ValueError(f'{path} is not a list of objects with a sample_id. {remedy}')
    for metadata in entries:
        gray = read_depth_map(depth_path(root, metadata['sample_id']))
        folder = image_folder(root, metadata['sample_id'])
        files = [required(folder / f'{view}.png', remedy).read_bytes()
                 for view in range(len(gray))] if images and number_of_images(metadata) else []
        yield PackedShape(metadata, [encode_image(view) for view in gray], files)


def read_depth_map(path: Path) -> np.ndarray:
    """Read the gray depth views of a released file.

    Returns:
        uint8 (V, H, W).

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file is truncated, is not a depth map, or is in color; the message names it.
    """
    views = read_depth_views(path)
    if views.ndim != 3:
        raise ValueError(f'{path}: the depth views are in color, {views.shape}; gray ones are needed')
    return np.rint(views * 255).astype(np.uint8)
