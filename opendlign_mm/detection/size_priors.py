"""Usual sizes of the objects of each class, which make classes less probable whose objects have other sizes."""
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from ..datasets.shape_dataset import spoken
from ..source_files import read_json

SMALLEST = .01  # meters: annotated boxes may be flat
PACKAGED = Path(__file__).parents[1] / 'assets' / 'built_in_sizes.json'


class SizePriors:
    """Log-normal distributions of the sizes of each class, independent for length, width and height.

    Length is the longer horizontal side, so that the turn of an object does not matter.

    Args:
        sizes: Class -> ``[length, width, height]``, the usual sizes in meters, or
            ``{'mean': [...], 'std': [...]}`` with the standard deviations of their natural logarithms; or a JSON file
            of that, as ``tools/fit_size_priors.py`` writes it; or ``'builtin'``, the file of this package, fitted to
            scan-like procedural objects of 22 classes.
        std: Standard deviation of the logarithms where a class has none, > 0.
        weight: Exponent of the density, >= 0; 0 ignores the sizes.
        misfit: Exponent, >= 0, of the density over its largest value, with which a probability is multiplied as well:
            boxes of a size that no class has get low scores. 0 only shifts probabilities between classes.
        missing: ``'error'`` if each class must have sizes; ``'keep'`` leaves the probabilities of classes without sizes
            as they are, and those with sizes share what is left.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: A class has no such sizes, or an option is out of range; the message names it.
    """

    def __init__(self, sizes: dict[str, Any] | str | Path, std: float = .5, weight: float = 1., misfit: float = 0.,
                 missing: Literal['error', 'keep'] = 'error') -> None:
        if std <= 0 or weight < 0 or misfit < 0:
            raise ValueError('size_priors: std must be > 0, weight and misfit >= 0, got '
                             f'{std}, {weight} and {misfit}')
        if missing not in ('error', 'keep'):
            raise ValueError(f"size_priors: missing must be 'error' or 'keep', got {missing!r}")
        self.source, self.weight, self.misfit, self.missing = 'size_priors', weight, misfit, missing
        if sizes == 'builtin':
            sizes = PACKAGED
        if isinstance(sizes, (str, Path)):
            self.source, path = str(sizes), Path(sizes).expanduser()
            if not path.is_file():
                raise FileNotFoundError(f'there is no file of sizes at {path}; tools/fit_size_priors.py writes one')
            sizes = read_json(path)
        if not isinstance(sizes, dict) or not sizes:
            raise ValueError(f'{self.source} must be a dict of the sizes of at least one class, got {str(sizes)[:80]}')
        self._of_class = {spoken(name): self._checked(name, entry, std) for name, entry in sizes.items()}

    def _checked(self, name: str, entry: Any, std: float) -> tuple[np.ndarray, np.ndarray]:
        """Return the logarithms of the mean sizes and their standard deviations, (3,) each."""
        entry = entry if isinstance(entry, dict) else dict(mean=entry)
        try:
            mean, deviation = (np.array(entry.get(key, default), dtype=np.float64)
                               for key, default in (('mean', None), ('std', [std] * 3)))
        except (TypeError, ValueError):
            mean = deviation = np.zeros(0)
        good = all(value.shape == (3, ) and np.isfinite(value).all() and (value > 0).all()
                   for value in (mean, deviation))
        if not good:
            raise ValueError(f"{self.source}: '{name}' must have three sizes in meters > 0, and with them three std > "
                             f'0 or none, got {entry}')
        return np.log(_longer_first(mean)), deviation

    def check(self, class_names: Sequence[str]) -> None:
        """Check that each class has sizes, unless those without are kept.

        Raises:
            ValueError: Some have none; the message names them.
        """
        if self.missing == 'keep':
            return
        absent = [name for name in class_names if spoken(name) not in self._of_class]
        if absent:
            raise ValueError(f'{self.source} has no sizes of {", ".join(absent[:8])}{", ..." * (len(absent) > 8)}; add '
                             "them, leave their probabilities as they are with missing='keep', or leave out "
                             'size_priors')

    def weigh(self, probabilities: Tensor, sizes: Tensor, class_names: Sequence[str]) -> Tensor:
        """Multiply class probabilities by the densities of the sizes; without ``misfit`` the sum of each row stays.

        Args:
            probabilities: Float (K, C).
            sizes: Sizes of the boxes in meters, float (K, 3): x, y, z in the frame of the box.
            class_names: The C classes.

        Returns:
            Float (K, C).
        """
        self.check(class_names)
        known = [index for index, name in enumerate(class_names) if spoken(name) in self._of_class]
        if not known:
            return probabilities
        means, deviations = (torch.as_tensor(np.stack(values), device=probabilities.device) for values in zip(
            *(self._of_class[spoken(class_names[index])] for index in known), strict=True))  # float64 (C, 3) each
        flat = sizes.double()
        sorted_sizes = torch.stack((flat[:, :2].amax(1), flat[:, :2].amin(1), flat[:, 2]), 1).clamp(min=SMALLEST)
        distances = (sorted_sizes.log()[:, None] - means) / deviations
        log_fit = -.5 * distances.square().sum(-1)  # of the density over its largest value
        log_density = log_fit - deviations.log().sum(-1)
        # In logarithms, as the density of a size that is far off would underflow for all classes.
        own = probabilities[:, known].double()
        weighed = (own.log() + self.weight * log_density).softmax(dim=1).nan_to_num(0) * own.sum(1, keepdim=True)
        result = probabilities.clone()
        result[:, known] = (weighed * (self.misfit * log_fit).exp()).to(probabilities.dtype)
        return result


def fit_size_priors(sizes: np.ndarray, labels: np.ndarray, classes: Sequence[str],
                    least_std: float = .1) -> dict[str, dict]:
    """Fit the sizes of annotated boxes: the mean and standard deviation of their logarithms.

    Args:
        sizes: Float (M, 3), sizes in meters.
        labels: Int (M,), indices of ``classes``; boxes with others are left out.
        classes: Names of the classes.
        least_std: Smallest standard deviation, for classes with few boxes.

    Returns:
        Class -> ``mean`` (the geometric one, in meters), ``std`` (of the natural logarithms) and ``count``; classes
        without boxes are left out.
    """
    fitted = {}
    for label, name in enumerate(classes):
        own = np.log(np.maximum(_longer_first(np.asarray(sizes, np.float64)[np.asarray(labels) == label]), SMALLEST))
        if len(own):
            fitted[name] = dict(mean=np.exp(own.mean(0)).round(4).tolist(),
                                std=np.maximum(own.std(0), least_std).round(4).tolist(), count=len(own))
    return fitted


def _longer_first(sizes: np.ndarray) -> np.ndarray:
    """Return sizes (..., 3) with the longer horizontal side first."""
    return np.concatenate([np.sort(sizes[..., :2], axis=-1)[..., ::-1], sizes[..., 2:]], axis=-1)
