"""Features of images by the pretrained branch of a model, computed once for all epochs."""
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import load_file, save

from ..atomic_files import atomic_write
from ..source_files import is_error_of_machine, required
from .described_folder import DescribedFolder

REMEDY = 'Run tools/encode_images.py again.'


class ImageFeatures(DescribedFolder):
    """A folder of features with one file for each shard: sample_id -> float16 (V, D), each view L2-normalized.

    Args:
        root: The folder; its ``identity`` describes the pretrained branch.

    Raises:
        FileNotFoundError: The folder does not exist.
        ValueError: Its description is damaged.
    """

    description = 'clip.json'
    maker = 'tools/encode_images.py writes such folders.'
    contents = 'the features of another model'
    remedy_of_others = 'choose another folder'

    def write(self, shard: int, features: dict[str, np.ndarray], images: str) -> None:
        """Write the features of a shard.

        Args:
            shard: Number of the shard.
            features: sample_id -> float (V, D).
            images: Description of the encoded images, which tells them from others.
        """
        half = {key: np.ascontiguousarray(value, dtype=np.float16) for key, value in features.items()}
        with atomic_write(self.path(shard)) as unfinished:
            unfinished.write_bytes(save(half, dict(images=images)))

    def read(self, shard: int) -> dict[str, np.ndarray]:
        """Read the features of a shard: sample_id -> float16 (V, D).

        Raises:
            FileNotFoundError: The file is missing.
            ValueError: The file is damaged; the message names it.
        """
        with self._naming(shard) as path:
            return load_file(path)

    def read_header(self, shard: int) -> tuple[set[str], str | None]:
        """Read the names of the objects of a shard and the description of their images. Raises like :meth:`read`."""
        with self._naming(shard) as path, safe_open(path, 'numpy') as file:
            return set(file.keys()), (file.metadata() or {}).get('images')

    def names(self) -> set[str]:
        """Return the names of all objects that have features. Raises like :meth:`read`."""
        return set(self._shard_of)

    def of(self, sample_id: str) -> tuple[np.ndarray, str | None]:
        """Read the features of one object, and not those of others.

        Returns:
            float32 (V, D), and the description of the images of its shard.

        Raises:
            FileNotFoundError: The file is missing.
            ValueError: There are no features of the object, or the file is damaged; the message names it.
        """
        if sample_id not in self._shard_of:
            raise ValueError(f'{self.root} has no features of {sample_id}. {REMEDY}')
        with self._naming(self._shard_of[sample_id]) as path, safe_open(path, 'numpy') as file:
            return file.get_tensor(sample_id).astype(np.float32), (file.metadata() or {}).get('images')

    @cached_property
    def _shard_of(self) -> dict[str, int]:
        shards = sorted(int(path.stem) for path in self.root.glob('[0-9]*.safetensors'))
        return {name: shard for shard in shards for name in self.read_header(shard)[0]}

    @contextmanager
    def _naming(self, shard: int) -> Iterator[Path]:
        """Give the file of a shard and name it in errors."""
        path = required(self.path(shard), REMEDY)
        try:
            yield path
        except (SafetensorError, OSError) as error:
            if is_error_of_machine(error):
                raise
            raise ValueError(f'{path} is damaged: {error}. {REMEDY}') from error
