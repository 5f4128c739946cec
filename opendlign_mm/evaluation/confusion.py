"""Which classes are taken for which."""
from typing import List, NamedTuple

import numpy as np


class ConfusedPair(NamedTuple):
    """Objects of class ``label`` that were taken for class ``predicted``: how many, and which share of the class."""
    label: int
    predicted: int
    count: int
    share: float


def most_confused_pairs(confusion: np.ndarray, num_pairs: int = 5) -> List[ConfusedPair]:
    """The commonest mistakes, most frequent first; of equally frequent ones the larger share of its class first.

    Args:
        confusion: int (C, C), objects of class (row) predicted as class (column), as scikit-learn's
            ``confusion_matrix`` gives it.
        num_pairs: Most pairs to return.

    Returns:
        At most ``num_pairs`` pairs (true class, predicted class); a pair and its reverse are two pairs.
    """
    wrong = confusion.copy()
    np.fill_diagonal(wrong, 0)
    shares = wrong / np.maximum(confusion.sum(axis=1, keepdims=True), 1)
    rows, columns = np.nonzero(wrong)
    order = np.lexsort((columns, rows, -shares[rows, columns], -wrong[rows, columns]))[:num_pairs]
    return [ConfusedPair(int(row), int(column), int(wrong[row, column]), float(shares[row, column]))
            for row, column in zip(rows[order], columns[order])]
