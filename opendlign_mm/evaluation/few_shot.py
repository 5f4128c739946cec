"""Few-shot classification: logistic regression on view features (OpenDlign, section 4.2)."""
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from sklearn.linear_model import LogisticRegression


@dataclass(frozen=True)
class FewShotResult:
    """Top-1 accuracy in percent of one draw of ``shots`` objects a class."""
    shots: int
    seed: int
    top1: float


def draw_shots(labels: np.ndarray, shots: int, seed: int, left_out: Sequence[int] = ()) -> np.ndarray:
    """Choose objects of each class at random.

    With one seed, the objects of fewer shots are among those of more shots.

    Args:
        labels: int (N,).
        shots: Objects of each class; of a smaller class all are taken.
        seed: Of the choice.
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
        # Its own generator: the choice in a class must not depend on the other classes.
        order = np.random.default_rng((seed, int(label))).permutation(np.flatnonzero(labels == label))
        chosen.append(order[allowed[order]][:shots])
    return np.sort(np.concatenate(chosen)) if chosen else np.zeros(0, dtype=np.int64)


def classify_few_shot(train: np.ndarray, train_labels: np.ndarray, test: np.ndarray, C: float = 1.,
                      max_iter: int = 1000) -> np.ndarray:
    """Fit scikit-learn's ``LogisticRegression`` on single views and sum its logits over the views of an object.

    Args:
        train: float (N, V, D), view features; each view is one training sample.
        train_labels: int (N,), of at least two classes.
        test: float (M, V, D).
        C: Inverse strength of the regularization.
        max_iter: Of the solver.

    Returns:
        int (M,), the class with the largest sum of logits.

    Raises:
        ValueError: There is only one class.
    """
    num_views = train.shape[1]
    classifier = LogisticRegression(C=C, max_iter=max_iter)
    if len(np.unique(train_labels)) < 2:
        raise ValueError('few-shot classification needs objects of at least two classes')
    classifier.fit(train.reshape(-1, train.shape[-1]), np.repeat(train_labels, num_views))
    logits = classifier.decision_function(test.reshape(-1, test.shape[-1])).reshape(len(test), test.shape[1], -1)
    logits = logits.sum(axis=1)
    if logits.shape[1] == 1:  # of two classes scikit-learn gives the logit of the second
        logits = np.concatenate([-logits, logits], axis=1)
    return classifier.classes_[logits.argmax(axis=1)]


def summarize(results: Sequence[FewShotResult]) -> list[dict]:
    """Mean and standard deviation over the seeds (of the sample, n - 1; None of a single seed) for each ``shots``."""
    rows = []
    for shots in sorted({result.shots for result in results}):
        values = [result.top1 for result in results if result.shots == shots]
        deviation: float | None = float(np.std(values, ddof=1)) if len(values) > 1 else None
        rows.append(dict(shots=shots, mean=float(np.mean(values)), std=deviation, seeds=len(values)))
    return rows
