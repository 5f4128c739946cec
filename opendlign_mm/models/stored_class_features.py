"""Features of class names in a file, for models that are used without their CLIP."""
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..atomic_files import atomic_write
from .prompts import checked_class_names


class StoredClassFeatures:
    """Class features in an .npz file with ``names``, C strings, and ``features``, float (C, D).

    ``tools/convert_checkpoint.py class_features`` makes such a file of those that OpenShape publishes.

    Args:
        path: The file.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is not such a file, or features are not finite; the message names it.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path).expanduser()
        if not self.path.is_file():
            raise FileNotFoundError(f'there is no file of class features at {path}; write one with '
                                    'tools/convert_checkpoint.py class_features, or set a text_encoder')
        try:
            with np.load(self.path) as file:
                names, features = file['names'].tolist(), torch.from_numpy(file['features']).float()
            self.class_names = checked_class_names(names)
        except Exception as error:  # a damaged archive raises almost anything
            raise ValueError(f"{path} is not a file of class features ('names' and 'features'): {error}") from error
        if features.ndim != 2 or len(features) != len(names) or not torch.isfinite(features).all():
            raise ValueError(f'{path} has {len(names)} names, but features {tuple(features.shape)}; they must be '
                             f'finite ({len(names)}, D)')
        self._features = F.normalize(features, dim=-1)
        self._row = {_spoken(name): row for row, name in enumerate(self.class_names)}

    def of(self, class_names: Sequence[str]) -> Tensor:
        """Return the features of classes by name, float32 (C, D), L2-normalized.

        Spaces and underscores in names are the same.

        Raises:
            ValueError: The file does not have a class; the message names it.
        """
        missing = [name for name in class_names if _spoken(name) not in self._row]
        if missing:
            raise ValueError(f'{self.path} has no features of the classes {", ".join(missing[:5])}; it has '
                             f'{", ".join(self.class_names[:5])}, ...')
        return self._features[[self._row[_spoken(name)] for name in class_names]]

    @staticmethod
    def write(path: str | Path, class_names: Sequence[str], features: Tensor | np.ndarray) -> None:
        """Write such a file, whole or not at all."""
        features = np.asarray(features, dtype=np.float32)
        with atomic_write(path) as unfinished:
            np.savez(unfinished, names=np.array(checked_class_names(class_names)), features=features)


def _spoken(name: str) -> str:
    return name.replace('_', ' ').strip()
