"""A confusion matrix as a picture."""
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from .figures import new_figure, save_figure

MAX_CLASSES_WITH_NUMBERS = 24


def draw_confusion_matrix(confusion: np.ndarray, class_names: Sequence[str], path: str | Path,
                          title: str = '', max_classes: int = 60) -> Path:
    """Write a picture of how the objects of each class (row) are predicted (columns), in percent of the row.

    Args:
        confusion: int (C, C), number of objects; a row without objects stays empty.
        class_names: C names.
        path: PNG to write.
        title: Of the picture.
        max_classes: Of a larger vocabulary the classes with the most mistakes are drawn; the title says so.

    Returns:
        Path of the PNG.

    Raises:
        ValueError: The matrix is not square, or has another size than there are names.
    """
    if confusion.ndim != 2 or confusion.shape != (len(class_names), len(class_names)) or not len(class_names):
        raise ValueError(f'a confusion matrix of {len(class_names)} classes must have shape (C, C), got '
                         f'{confusion.shape}')
    names = list(class_names)
    shares = 100 * confusion / np.maximum(confusion.sum(axis=1, keepdims=True), 1)
    kept = np.arange(len(names))
    if len(names) > max_classes:
        kept = _classes_with_most_mistakes(confusion, max_classes)
        title = f'{title}\nthe {max_classes} of {len(names)} classes with the most mistakes'.strip()
    names, shares, samples = [names[index] for index in kept], shares[np.ix_(kept, kept)], confusion.sum(axis=1)[kept]

    side = max(4., 2.2 + .34 * len(names))
    figure = new_figure((side + 1, side))
    axis = figure.subplots()
    picture = axis.imshow(shares, cmap='Blues', vmin=0, vmax=100)
    figure.colorbar(picture, ax=axis, label='% of the objects of the class', shrink=.8)
    axis.set_xticks(range(len(names)), names, rotation=90, fontsize=8)
    axis.set_yticks(range(len(names)), [f'{name} ({count})' for name, count in zip(names, samples)], fontsize=8)
    axis.set(xlabel='predicted class', ylabel='class (number of objects)', title=title)
    if len(names) <= MAX_CLASSES_WITH_NUMBERS:
        for row, column in np.argwhere(shares >= .5):
            value = shares[row, column]
            axis.text(column, row, f'{value:.0f}', ha='center', va='center', fontsize=7,
                      color='white' if value > 55 else 'black')
    return save_figure(figure, path)


def _classes_with_most_mistakes(confusion: np.ndarray, num_classes: int) -> np.ndarray:
    """Indices (at most ``num_classes``), in the order of the vocabulary, of the classes in the most mistakes.

    A mistake counts for the class of the object and for the class it was taken for.
    """
    mistakes = confusion.sum(axis=0) + confusion.sum(axis=1) - 2 * confusion.diagonal()
    return np.sort(np.argsort(-mistakes, kind='stable')[:num_classes])
