"""Features of a store's images by the frozen branch of a model, computed once for all epochs."""
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from ...atomic_files import atomic_write
from ..source_files import read_json, required
from .shape_store import ShapeStore

IDENTITY = 'clip.json'


class ImageFeatures:
    """A folder of features with one file for each shard: sample_id -> float16 (V, D), each view L2-normalized.

    Args:
        root: The folder.

    Raises:
        FileNotFoundError: There is no such folder.
    """

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root)
        self.identity: dict = read_json(self.root / IDENTITY, 'tools/encode_images.py writes such folders.')
        self._shard, self._features = None, {}

    @classmethod
    def create(cls, root: str | Path, identity: dict) -> 'ImageFeatures':
        """Start such a folder, or open the existing one.

        Args:
            root: The folder.
            identity: Description of the frozen branch.

        Raises:
            ValueError: The folder has the features of another CLIP.
        """
        path = Path(root) / IDENTITY
        if not path.exists():
            with atomic_write(path) as unfinished:
                unfinished.write_text(json.dumps(identity, sort_keys=True, indent=1))
        features = cls(root)
        if features.identity != json.loads(json.dumps(identity)):
            raise ValueError(f'{root} has the features of another model ({features.identity}, now {identity}); choose '
                             'another folder')
        return features

    def path(self, shard: int) -> Path:
        """Return the file of a shard."""
        return self.root / f'{ShapeStore.shard_name(shard)}.safetensors'

    def of(self, shard: int, sample_id: str) -> np.ndarray:
        """Return the features of an object.

        Returns:
            float32 (V, D).

        Raises:
            FileNotFoundError: The file of the shard is missing.
            ValueError: The file is damaged or lacks the object; the message names it.
        """
        if self._shard != shard:
            self._features, self._shard = self._load(shard), shard
        if sample_id not in self._features:
            raise ValueError(f'{self.path(shard)} has no features of {sample_id}; run tools/encode_images.py again')
        return self._features[sample_id].astype(np.float32)

    def is_done(self, shard: int, sample_ids: Sequence[str]) -> bool:
        """Return whether a shard has the features of exactly these objects."""
        try:
            return set(self._load(shard)) == set(sample_ids)
        except (FileNotFoundError, ValueError):
            return False

    def write(self, shard: int, features: dict[str, np.ndarray]) -> None:
        """Write the features of a shard: sample_id -> float (V, D)."""
        with atomic_write(self.path(shard)) as unfinished:
            save_file({key: np.ascontiguousarray(value, dtype=np.float16) for key, value in features.items()},
                      unfinished)

    def _load(self, shard: int) -> dict[str, np.ndarray]:
        path = required(self.path(shard), 'Run tools/encode_images.py again.')
        try:
            return load_file(path)
        except (SafetensorError, OSError) as error:
            raise ValueError(f'{path} is damaged: {error}. Run tools/encode_images.py again.') from error
