"""Sheets of depth views and images: one row per object, or the results of a query in a grid."""
import textwrap
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from matplotlib.axes import Axes
from torch import Tensor

from .figures import new_figure, plain_text, save_figure

LINE_HEIGHT = 0.16  # inches, of a line of a title
GAP = 0.08  # inches, between rows
GALLERY_COLUMNS = 5


def depth_contact_sheet(depth_views: Tensor,
                        titles: Sequence[str],
                        path: str | Path,
                        view_size: float = 1.0,
                        title_width: float = 2.2) -> Path:
    """Draw one row of depth views per object, its title on the left.

    Args:
        depth_views: Depth views, float (K, V, H, W) in [0, 1], 1 is background.
        titles: Titles of the K objects; may have several lines.
        path: PNG to write.
        view_size: Width of a view in inches.
        title_width: Width of the titles in inches.

    Returns:
        Path of the PNG.

    Raises:
        ValueError: There are no objects, another shape, or another number of titles.
    """
    if depth_views.dim() != 4 or len(depth_views) == 0:
        raise ValueError(f'depth_views must have shape (K, V, H, W) with K >= 1, got {tuple(depth_views.shape)}')
    if len(titles) != len(depth_views):
        raise ValueError(f'{len(depth_views)} objects but {len(titles)} titles')
    num_objects, num_views, height, width = depth_views.shape
    # One image per row, with a white pixel between views, is much faster than an axis per view.
    separated = torch.nn.functional.pad(depth_views.detach().float().cpu(), (0, 1), value=1.)
    rows = separated.permute(0, 2, 1, 3).reshape(num_objects, height, num_views * (width + 1))
    image_width, image_height = num_views * view_size, view_size * height / width
    row_height = GAP + max(image_height, LINE_HEIGHT * max(title.count('\n') + 1 for title in titles))
    total_width, total_height = title_width + image_width, num_objects * row_height
    figure = new_figure((total_width, total_height))
    figure.set_layout_engine('none')  # it would shrink the images to make room for long titles
    for number, (row, title) in enumerate(zip(rows.numpy(), titles, strict=True)):
        middle = 1 - (number + 0.5) / num_objects
        figure.text(GAP / total_width, middle, plain_text(title), va='center', fontsize=9)
        axis = figure.add_axes((title_width / total_width, middle - image_height / total_height / 2,
                                image_width / total_width, image_height / total_height))
        axis.imshow(row, cmap='gray', vmin=0, vmax=1, interpolation='nearest', aspect='auto')
        axis.axis('off')
    return save_figure(figure, path)


def draw_image_sheet(images: Sequence[np.ndarray], titles: Sequence[str], path: str | Path,
                     image_size: float = 1., title_width: float = 2.4) -> Path:
    """Draw one row of images per object, its title on the left.

    Args:
        images: Images of each object, uint8 (V, H, W, 3), RGB; V may differ between objects.
        titles: Title of each object; may have several lines.
        path: PNG to write.
        image_size: Width of an image in inches.
        title_width: Width of the titles in inches.

    Returns:
        Path of the PNG.

    Raises:
        ValueError: There are no objects, or another number of titles.
    """
    if not len(images) or len(images) != len(titles):
        raise ValueError(f'{len(images)} objects and {len(titles)} titles')
    most = max(len(views) for views in images)
    figure = new_figure((title_width + most * image_size, len(images) * image_size))
    axes = figure.subplots(len(images), 2, squeeze=False,
                           gridspec_kw=dict(width_ratios=[title_width, most * image_size]))
    for (title_axis, image_axis), views, title in zip(axes, images, titles, strict=True):
        title_axis.text(0, .5, plain_text(title), va='center', fontsize=7)
        image_axis.imshow(np.concatenate(list(views), axis=1), interpolation='nearest')
        for axis in (title_axis, image_axis):
            axis.axis('off')
    return save_figure(figure, path)


def draw_gallery(thumbnails: np.ndarray, titles: Sequence[str], path: str | Path,
                 query_text: str | None = None, query_image: np.ndarray | None = None) -> Path:
    """Draw a query on the left and the shapes that it found on the right, best first, row by row.

    Args:
        thumbnails: Depth views of the K shapes, uint8 (K, h, w).
        titles: Titles of the K shapes; may have several lines.
        path: PNG to write.
        query_text: Text of the query.
        query_image: Image of the query, (H, W, 3), uint8 or float in [0, 1].

    Returns:
        Path of the PNG.

    Raises:
        ValueError: There are no shapes, or another number of titles.
    """
    if len(thumbnails) != len(titles) or not len(titles):
        raise ValueError(f'a gallery needs as many titles as images, at least one, got {len(titles)} and '
                         f'{len(thumbnails)}')
    columns = min(GALLERY_COLUMNS, len(titles))
    rows = -(-len(titles) // columns)
    figure = new_figure((1.9 * (columns + 1.25), 2.35 * rows))
    left, right = figure.subfigures(1, 2, squeeze=False, width_ratios=[1.25, columns])[0]
    _draw_query(left.subplots(), query_text, query_image)
    axes = list(right.subplots(rows, columns, squeeze=False).flat)
    for axis in axes:
        axis.axis('off')
    for axis, thumbnail, title in zip(axes, thumbnails, titles, strict=False):  # the last row may be short
        axis.imshow(thumbnail, cmap='gray', vmin=0, vmax=255)
        axis.set_title(plain_text(title), fontsize=9)
    return save_figure(figure, path, dpi=110)


def _draw_query(axis: Axes, text: str | None, image: np.ndarray | None) -> None:
    axis.axis('off')
    wrapped = plain_text(textwrap.fill(text, 22)) if text else ''
    if image is None:
        axis.text(.5, .5, wrapped, ha='center', va='center', fontsize=11, transform=axis.transAxes)
        return
    axis.imshow(image)
    axis.set_title(f'{wrapped}\n+ image' if text else 'query', fontsize=10)
