"""One stored object: its depth views and images as encoded image files, and its metadata."""
import hashlib
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, get_args

import numpy as np
from PIL import Image

from ...file_keys import readable_text
from ..released import has_single_color

ImageFormat = Literal['png', 'jpg']
IMAGE_FORMATS: tuple[str, ...] = get_args(ImageFormat)


@dataclass
class PackedShape:
    """Depth views and images of one object, as the bytes of image files.

    Attributes:
        metadata: JSON values: ``sample_id`` (unique), ``text`` (name of the object in prompts) and ``category``; with
            images also ``prompt``, ``negative_prompt`` and ``seeds``, or ``num_images`` for renderings; after filtering
            ``scores``, ``ranks``, ``kept`` and others.
        depth_files: V gray PNG files, background white, near is dark.
        image_files: V RGB image files, or an empty list.
        image_format: Format of ``image_files``.
        image_features: float (V, D), features of the images where they were stored; see :class:`ImageFeatures`.

    Raises:
        ValueError: The ``sample_id`` has NUL or bytes that are not Unicode.
    """
    metadata: dict
    depth_files: list[bytes]
    image_files: list[bytes] = field(default_factory=list)
    image_format: ImageFormat = 'png'
    image_features: np.ndarray | None = None

    def __post_init__(self) -> None:
        if self.sample_id != readable_text(self.sample_id):
            raise ValueError(f'the name {readable_text(self.sample_id)} has NUL or bytes that are not UTF-8; rename it')

    @property
    def sample_id(self) -> str:
        """Unique name of the object."""
        return self.metadata['sample_id']

    def depth_views(self) -> np.ndarray:
        """Decode the depth views to uint8 (V, H, W). Raises ValueError that names the object if one is unreadable."""
        return _decode(self.depth_files, 'L', f'depth view of {self.sample_id}')

    def images(self) -> np.ndarray:
        """Decode the images to uint8 RGB (V, H, W, 3).

        Raises:
            ValueError: An image cannot be read or has a single color; the message names the object.
        """
        images = _decode(self.image_files, 'RGB', f'image of {self.sample_id}')
        for view, image in enumerate(images):
            if has_single_color(image):
                raise ValueError(f'image of {self.sample_id}, number {view}, has a single color')
        return images


def encode_image(image: np.ndarray, image_format: ImageFormat = 'png', quality: int = 95) -> bytes:
    """Encode an image as the bytes of a file; equal images give equal bytes.

    Args:
        image: uint8 array (H, W) or (H, W, 3).
        image_format: File format.
        quality: JPEG quality from 1 to 100. Colors are not subsampled.

    Raises:
        ValueError: Unknown ``image_format``.
    """
    if image_format not in IMAGE_FORMATS:
        raise ValueError(f'image_format must be one of {IMAGE_FORMATS}, got {image_format!r}')
    buffer = io.BytesIO()
    if image_format == 'png':
        # Higher levels take five times as long for a tenth of the size, on half a million files.
        Image.fromarray(image).save(buffer, 'PNG', compress_level=3)
    else:
        Image.fromarray(image).save(buffer, 'JPEG', quality=quality, subsampling=0)
    return buffer.getvalue()


def hash_of_files(shapes: Sequence[PackedShape], kind: Literal['depth_files', 'image_files']) -> str:
    """Return the SHA-256 of the names and the files of objects, which does not depend on other metadata."""
    digest = hashlib.sha256()
    for shape in shapes:
        files: list[bytes] = getattr(shape, kind)
        digest.update(json.dumps([shape.sample_id, [len(file) for file in files]]).encode())
        for file in files:
            digest.update(file)
    return digest.hexdigest()


def _decode(files: Sequence[bytes], mode: str, name: str) -> np.ndarray:
    arrays = []
    for view, file in enumerate(files):
        try:
            with Image.open(io.BytesIO(file)) as image:
                arrays.append(np.asarray(image.convert(mode)))
        except (OSError, ValueError, SyntaxError) as error:
            raise ValueError(f'{name}, number {view}, cannot be read: {error}') from error
        if arrays[-1].shape != arrays[0].shape:
            raise ValueError(f'{name}, number {view}, has {arrays[-1].shape[:2]} pixels, the first one '
                             f'{arrays[0].shape[:2]}')
    if not arrays:
        raise ValueError(f'there is no {name}')
    return np.stack(arrays)
