"""Plots of results: confusion matrices, accuracy over the number of shots, and lines of published tables."""
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from .figures import new_figure, plain_text, save_figure

MAX_CLASSES_WITH_NUMBERS = 24


def draw_confusion_matrix(confusion: np.ndarray, class_names: Sequence[str], path: str | Path,
                          title: str = '', max_classes: int = 60) -> Path:
    """Plot how the objects of each class (row) are predicted (columns), in percent of the row.

    Args:
        confusion: Number of objects, int (C, C); a row without objects stays empty.
        class_names: Names of the C classes.
        path: PNG to write.
        title: Title of the plot.
        max_classes: Number of classes to draw. If there are more, those with the most mistakes are drawn, and the title
            says so.

    Returns:
        Path of the PNG.

    Raises:
        ValueError: The matrix is not square, or has another size than there are names.
    """
    if confusion.ndim != 2 or confusion.shape != (len(class_names), len(class_names)) or not len(class_names):
        raise ValueError(f'a confusion matrix of {len(class_names)} classes must have shape (C, C), got '
                         f'{confusion.shape}')
    names = [plain_text(name) for name in class_names]
    shares = 100 * confusion / np.maximum(confusion.sum(axis=1, keepdims=True), 1)
    kept = np.arange(len(names))
    if len(names) > max_classes:
        kept = _classes_with_most_mistakes(confusion, max_classes)
        title = f'{title}\nthe {max_classes} of {len(names)} classes with the most mistakes'.strip()
    names, shares, samples = [names[index] for index in kept], shares[np.ix_(kept, kept)], confusion.sum(axis=1)[kept]

    side = max(4., 2.2 + .34 * len(names))
    figure = new_figure((side + 1, side))
    axis = figure.subplots()
    image = axis.imshow(shares, cmap='Blues', vmin=0, vmax=100)
    figure.colorbar(image, ax=axis, label='% of the objects of the class', shrink=.8)
    axis.set_xticks(range(len(names)), names, rotation=90, fontsize=8)
    rows = [f'{name} ({count})' for name, count in zip(names, samples, strict=True)]
    axis.set_yticks(range(len(names)), rows, fontsize=8)
    axis.set(xlabel='predicted class', ylabel='class (number of objects)', title=plain_text(title))
    if len(names) <= MAX_CLASSES_WITH_NUMBERS:
        for row, column in np.argwhere(shares >= .5):
            value = shares[row, column]
            axis.text(column, row, f'{value:.0f}', ha='center', va='center', fontsize=7,
                      color='white' if value > 55 else 'black')
    return save_figure(figure, path)


def _classes_with_most_mistakes(confusion: np.ndarray, num_classes: int) -> np.ndarray:
    """Return the indices of the ``num_classes`` classes that are in the most mistakes, in the order of the vocabulary.

    A mistake counts for the class of the object and for the predicted class.
    """
    mistakes = confusion.sum(axis=0) + confusion.sum(axis=1) - 2 * confusion.diagonal()
    return np.sort(np.argsort(-mistakes, kind='stable')[:num_classes])


def draw_few_shot_plot(rows: Sequence[dict], path: str | Path, zero_shot: float | None = None,
                       title: str = '') -> Path:
    """Plot mean and standard deviation of the accuracy for each number of shots.

    Args:
        rows: Results with ``shots``, ``mean``, ``std`` (None: no bar), both in percent, and ``seeds``, as
            :func:`.evaluation.few_shot.summarize` returns them.
        path: PNG to write.
        zero_shot: Top-1 accuracy without any shot, in percent, drawn as a line; None draws no line.
        title: Title of the plot.

    Returns:
        Path of the PNG.

    Raises:
        ValueError: There are no rows.
    """
    if not rows:
        raise ValueError('there is nothing to draw: no number of shots was measured')
    shots = [row['shots'] for row in rows]
    figure = new_figure((6, 4.2))
    axis = figure.subplots()
    axis.errorbar(shots, [row['mean'] for row in rows], [row['std'] or 0. for row in rows], marker='o', capsize=4,
                  color='tab:blue', label=f'logistic regression, {rows[0]["seeds"]} draws')
    if zero_shot is not None:
        axis.axhline(zero_shot, linestyle='--', color='tab:gray', label=f'zero-shot, {zero_shot:.1f} %')
    axis.set_xscale('log', base=2)
    axis.set_xticks(shots, [str(count) for count in shots])
    axis.minorticks_off()
    axis.grid(alpha=.3)
    axis.set(xlabel='shots per class', ylabel='top-1 accuracy in %', title=plain_text(title))
    axis.legend()
    return save_figure(figure, path, dpi=120)


def draw_line_plots(panels: Mapping[str, Mapping[str, Mapping[int, float]]], path: str | Path, x_label: str,
                    y_label: str) -> Path:
    """Plot lines in panels side by side; labels that end in 'published' are dashed, in the color of the measured line.

    Args:
        panels: Title of a panel -> label of a line -> position -> value.
        path: PNG to write.
        x_label: Name of the positions, which are shown at equal distances.
        y_label: Name of the values.

    Returns:
        Path of the PNG.

    Raises:
        ValueError: There are no panels.
    """
    if not panels:
        raise ValueError('there is nothing to draw: no value was measured or published')
    figure = new_figure((4.6 * len(panels), 4.2))
    for axis, (title, lines) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels.items(), strict=True):
        positions = sorted({position for line in lines.values() for position in line})
        names = list(dict.fromkeys(label.removesuffix('published').removesuffix('measured') for label in lines))
        for label, line in lines.items():
            dashed = label.endswith('published')
            color = f'C{names.index(label.removesuffix("published").removesuffix("measured")) % 10}'
            shown = [position for position in positions if position in line]
            axis.plot([positions.index(position) for position in shown], [line[position] for position in shown],
                      '--' if dashed else '-', marker='o', markersize=4, color=color, label=plain_text(label))
        axis.set_xticks(range(len(positions)), [str(position) for position in positions])
        axis.grid(alpha=.3)
        axis.set(xlabel=x_label, ylabel=y_label, title=plain_text(title))
        axis.legend(fontsize=7)
    return save_figure(figure, path, dpi=120)
