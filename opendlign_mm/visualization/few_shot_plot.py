"""Accuracy over the number of shots as a picture."""
from collections.abc import Sequence
from pathlib import Path

from .figures import new_figure, save_figure


def draw_few_shot_plot(rows: Sequence[dict], path: str | Path, zero_shot: float | None = None,
                       title: str = '') -> Path:
    """Write a picture of mean and standard deviation for each number of shots.

    Args:
        rows: ``shots``, ``mean`` and ``std`` (None: no bar) in percent, as :func:`summarize` gives them.
        path: PNG to write.
        zero_shot: Top-1 accuracy without any shot, in percent, drawn as a line.
        title: Of the picture.

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
    axis.set(xlabel='shots per class', ylabel='top-1 accuracy in %', title=title)
    axis.legend()
    return save_figure(figure, path, dpi=120)
