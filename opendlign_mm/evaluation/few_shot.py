"""Few-shot classification on features: draws of objects, logistic regression, accuracy (OpenDlign, section 4.2).

``few_shot_objects`` has the part before it: the training objects of a config and their features.
"""
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from tqdm import tqdm

from .logistic_regression import TorchLogisticRegression


@dataclass(frozen=True)
class FewShotResult:
    """Top-1 accuracy in percent of one draw of ``shots`` objects per class."""
    shots: int
    seed: int
    top1: float


class TrainingObjects(NamedTuple):
    """Training objects that at least one draw needs.

    Attributes:
        features: float32 (N, V, D), view features.
        labels: int (N,), among the classes of the test set.
        draws: (shots, seed) -> int array, rows of ``features``.
        skipped: index in the dataset -> why the object cannot be read.
        held_out: Whether the rows are those of the test objects, so that a draw must be taken out of the test set.
    """
    features: np.ndarray
    labels: np.ndarray
    draws: dict[tuple[int, int], np.ndarray]
    skipped: dict[int, str]
    held_out: bool = False


def draw_shots(labels: np.ndarray, shots: int, seed: int, left_out: Sequence[int] = ()) -> np.ndarray:
    """Choose objects of each class at random.

    With one seed, the objects of fewer shots are among those of more shots.

    Args:
        labels: int (N,).
        shots: Number of objects per class; a class with fewer objects gives all it has.
        seed: Seed of the choice.
        left_out: Indices that must not be chosen.

    Returns:
        int, indices in ascending order.

    Raises:
        ValueError: ``shots`` is below 1.
    """
    if shots < 1:
        raise ValueError(f'the number of shots must be >= 1, got {shots}')
    allowed = np.ones(len(labels), dtype=bool)
    allowed[list(left_out)] = False
    chosen = []
    for label in np.unique(labels):
        # One generator per class: the choice in a class must not depend on the other classes.
        order = np.random.default_rng((seed, int(label))).permutation(np.flatnonzero(labels == label))
        chosen.append(order[allowed[order]][:shots])
    return np.sort(np.concatenate(chosen)) if chosen else np.zeros(0, dtype=np.int64)


def draw_all(labels: np.ndarray, shots: Iterable[int], num_seeds: int, left_out: Sequence[int] = ()
             ) -> dict[tuple[int, int], np.ndarray]:
    """Return (shots, seed) -> indices, for each number of shots and the seeds 0, ..., ``num_seeds`` - 1."""
    return {(number, seed): draw_shots(labels, number, seed, left_out)
            for number in sorted(set(shots)) for seed in range(num_seeds)}


def classify_few_shot(train: np.ndarray, train_labels: np.ndarray, test: np.ndarray, C: float = 1.,
                      max_iter: int = 1000, device: torch.device | str | None = None) -> np.ndarray:
    """Fit a logistic regression on single views and sum its logits over the views of an object.

    Args:
        train: float (N, V, D), view features; each view is one training sample.
        train_labels: int (N,), of at least two classes.
        test: float (M, V, D).
        C: Inverse strength of the regularization.
        max_iter: Maximum number of iterations of the solver.
        device: Device of :class:`TorchLogisticRegression`; None for scikit-learn's ``LogisticRegression``.

    Returns:
        int (M,), the class with the largest sum of logits.

    Raises:
        ValueError: There is only one class.
    """
    num_views = train.shape[1]
    # Imported here: scikit-learn takes more than a second, which each command of the package would wait for.
    from sklearn.linear_model import LogisticRegression
    classifier: Any = (LogisticRegression(C=C, max_iter=max_iter) if device is None
                       else TorchLogisticRegression(C, max_iter, device))
    if len(np.unique(train_labels)) < 2:
        raise ValueError('few-shot classification needs objects of at least two classes')
    classifier.fit(train.reshape(-1, train.shape[-1]), np.repeat(train_labels, num_views))
    logits = classifier.decision_function(test.reshape(-1, test.shape[-1])).reshape(len(test), test.shape[1], -1)
    logits = logits.sum(axis=1)
    if logits.shape[1] == 1:  # for two classes scikit-learn returns only the logit of the second
        logits = np.concatenate([-logits, logits], axis=1)
    return classifier.classes_[logits.argmax(axis=1)]


def classify_draws(drawn: TrainingObjects, test: np.ndarray, test_labels: np.ndarray, C: float = 1.,
                   device: torch.device | str | None = None) -> list[FewShotResult]:
    """Fit a classifier to each draw and test it, with a progress bar.

    Args:
        drawn: Training objects and their draws.
        test: float (M, V, D), view features of the test objects.
        test_labels: int (M,).
        C: Inverse strength of the regularization.
        device: See :func:`classify_few_shot`.
    """
    results = []
    for (shots, seed), chosen in tqdm(drawn.draws.items(), desc='draws', leave=False):
        kept = np.setdiff1d(np.arange(len(test)), chosen) if drawn.held_out else np.arange(len(test))
        predicted = classify_few_shot(drawn.features[chosen], drawn.labels[chosen], test[kept], C, device=device)
        results.append(FewShotResult(shots, seed, float((predicted == test_labels[kept]).mean() * 100)))
    return results


def summarize(results: Sequence[FewShotResult]) -> list[dict]:
    """Return ``shots``, ``mean``, ``std`` and ``seeds`` (their number) for each number of shots.

    ``std`` is the sample standard deviation over the seeds (n - 1), None for a single seed.
    """
    rows = []
    for shots in sorted({result.shots for result in results}):
        values = [result.top1 for result in results if result.shots == shots]
        deviation: float | None = float(np.std(values, ddof=1)) if len(values) > 1 else None
        rows.append(dict(shots=shots, mean=float(np.mean(values)), std=deviation, seeds=len(values)))
    return rows
