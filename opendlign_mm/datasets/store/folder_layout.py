"""A shard as loose files, in the layout in which OpenDlign's authors released their data.

``depth_map/<key>_dm.npy`` is uint8 (V, H, W, 3), ``depth_align_img/<key>/<v>.png`` the images; beside them
``metadata/<shard>.json`` lists what is known of each object.
"""
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from ...atomic_files import atomic_folder, atomic_write
from ..released import read_depth_views
from ..source_files import read_json, required
from .packed_shape import PackedShape, encode_image, file_key


def depth_path(root: Path, sample_id: str) -> Path:
    return root / 'depth_map' / f'{file_key(sample_id)}_dm.npy'


def image_folder(root: Path, sample_id: str) -> Path:
    return root / 'depth_align_img' / file_key(sample_id)


def write_folder_shard(root: Path, name: str, shapes: Sequence[PackedShape]) -> None:
    """Write the files of a shard; each file, and the images of an object together, appear whole or not at all."""
    for shape in shapes:
        gray = shape.depth_views()
        with atomic_write(depth_path(root, shape.sample_id)) as unfinished:
            np.save(unfinished, np.repeat(gray[..., None], 3, axis=-1))
        if shape.image_files:
            if shape.image_format != 'png':
                raise ValueError("the released folder layout holds PNG images: set image_format='png'")
            with atomic_folder(image_folder(root, shape.sample_id)) as unfinished:
                for view, file in enumerate(shape.image_files):
                    (unfinished / f'{view}.png').write_bytes(file)
    write_folder_metadata(root, name, shapes)


def write_folder_metadata(root: Path, name: str, shapes: Sequence[PackedShape]) -> None:
    """Write what is known of the objects of a shard."""
    with atomic_write(root / 'metadata' / f'{name}.json') as unfinished:
        unfinished.write_text(json.dumps([shape.metadata for shape in shapes], sort_keys=True, indent=1))


def read_folder_shard(root: Path, name: str) -> Iterator[PackedShape]:
    """Read the objects of a shard in their order; see :func:`read_depth_map` for errors."""
    for metadata in read_json(root / 'metadata' / f'{name}.json', 'Run the command that made it again.'):
        gray = read_depth_map(depth_path(root, metadata['sample_id']))
        folder = image_folder(root, metadata['sample_id'])
        images = [required(folder / f'{view}.png', 'Run the command that made it again.').read_bytes()
                  for view in range(len(gray))] if metadata.get('seeds') else []
        yield PackedShape(metadata, [encode_image(view) for view in gray], images)


def folder_files(root: Path, metadata: dict) -> list[Path]:
    """The files that belong to an object."""
    views = len(metadata.get('seeds') or ())
    folder = image_folder(root, metadata['sample_id'])
    return [depth_path(root, metadata['sample_id'])] + [folder / f'{view}.png' for view in range(views)]


def read_depth_map(path: Path) -> np.ndarray:
    """Gray depth views of a released file.

    Returns:
        uint8 (V, H, W).

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is no depth map, is cut off, or in color; the message names it.
    """
    views = read_depth_views(path)
    if views.ndim != 3:
        raise ValueError(f'{path}: the depth views are in color, {views.shape}; gray ones are needed')
    return np.rint(views * 255).astype(np.uint8)
