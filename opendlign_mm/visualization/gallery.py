"""What a query found, as a picture."""
import textwrap
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes

from .figures import new_figure, save_figure

COLUMNS = 5


def draw_gallery(thumbnails: np.ndarray, titles: Sequence[str], path: str | Path,
                 query_text: str | None = None, query_image: np.ndarray | None = None) -> Path:
    """Write the query on the left and the shapes that were found on the right, best first, row by row.

    Args:
        thumbnails: uint8 (K, h, w), depth views.
        titles: K texts; may have several lines.
        path: PNG to write.
        query_text: Text of the query.
        query_image: (H, W, 3), image of the query, uint8 or float in [0, 1].

    Returns:
        Path of the PNG.

    Raises:
        ValueError: There are no shapes, or another number of titles.
    """
    if len(thumbnails) != len(titles) or not len(titles):
        raise ValueError(f'a gallery needs as many titles as pictures, at least one, got {len(titles)} and '
                         f'{len(thumbnails)}')
    columns = min(COLUMNS, len(titles))
    rows = -(-len(titles) // columns)
    figure = new_figure((1.9 * (columns + 1.25), 2.35 * rows))
    left, right = figure.subfigures(1, 2, width_ratios=[1.25, columns])
    _draw_query(left.subplots(), query_text, query_image)
    axes = list(right.subplots(rows, columns, squeeze=False).flat)
    for axis in axes:
        axis.axis('off')
    for axis, picture, title in zip(axes, thumbnails, titles):
        axis.imshow(picture, cmap='gray', vmin=0, vmax=255)
        axis.set_title(title, fontsize=9)
    return save_figure(figure, path, dpi=110)


def _draw_query(axis: Axes, text: str | None, image: np.ndarray | None) -> None:
    axis.axis('off')
    wrapped = textwrap.fill(text, 22) if text else ''
    if image is None:
        axis.text(.5, .5, wrapped, ha='center', va='center', fontsize=11, transform=axis.transAxes)
        return
    axis.imshow(image)
    axis.set_title(f'{wrapped}\n+ image' if text else 'query', fontsize=10)
