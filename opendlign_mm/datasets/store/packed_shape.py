"""One stored shape: its depth views, images and metadata as files of a tar shard."""
import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from urllib.parse import quote, unquote

import numpy as np
from PIL import Image

IMAGE_FORMATS = ('png', 'jpg')


@dataclass
class PackedShape:
    """Depth views and images of an object, encoded.

    Attributes:
        metadata: ``sample_id`` (unique), ``text`` (what the object is called, for prompts) and ``category``; of images
            also ``prompt``, ``negative_prompt``, ``seeds``; after filtering ``scores``, ``ranks``, ``kept``, ... All
            values are what JSON holds.
        depth_files: V gray PNG files, background white, near is dark.
        image_files: V RGB files, or none.
        image_format: 'png' or 'jpg'.
    """
    metadata: dict
    depth_files: list[bytes]
    image_files: list[bytes] = field(default_factory=list)
    image_format: str = 'png'

    @property
    def sample_id(self) -> str:
        return self.metadata['sample_id']

    def depth_views(self) -> np.ndarray:
        """uint8 (V, H, W). Raises ``ValueError`` that names the object if a file cannot be read."""
        return _decoded(self.depth_files, 'L', f'depth view of {self.sample_id}')

    def images(self) -> np.ndarray:
        """uint8 (V, H, W, 3), RGB. Raises ``ValueError`` that names the object if a file cannot be read."""
        return _decoded(self.image_files, 'RGB', f'image of {self.sample_id}')


def encode_image(image: np.ndarray, image_format: str = 'png', quality: int = 95) -> bytes:
    """The bytes of an image file; the same image always gives the same bytes.

    Args:
        image: uint8 (H, W) or (H, W, 3).
        image_format: 'png' or 'jpg'.
        quality: Of JPEG, from 1 to 100; its colors are not subsampled.
    """
    if image_format not in IMAGE_FORMATS:
        raise ValueError(f'image_format must be one of {IMAGE_FORMATS}, got {image_format!r}')
    buffer = io.BytesIO()
    if image_format == 'png':
        # Half a million files: the higher levels take five times as long for a tenth of the size.
        Image.fromarray(image).save(buffer, 'PNG', compress_level=3)
    else:
        Image.fromarray(image).save(buffer, 'JPEG', quality=quality, subsampling=0)
    return buffer.getvalue()


def _decoded(files: Sequence[bytes], mode: str, name: str) -> np.ndarray:
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


def file_key(sample_id: str) -> str:
    """A name that is valid in tar archives and folders; no two objects share one, and :func:`sample_id_of` undoes it.

    WebDataset ends a key at the first dot, so dots are escaped too.
    """
    return quote(sample_id, safe='').replace('.', '%2E').replace('~', '%7E')


def sample_id_of(key: str) -> str:
    """The ``sample_id`` of a file key."""
    return unquote(key)
