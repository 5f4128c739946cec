"""Contact sheets: one row of depth views or images per object."""
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from .figures import new_figure, save_figure

LINE_HEIGHT = 0.16  # inches, of a line of a title
GAP = 0.08  # inches, between rows


def depth_contact_sheet(depth_views: Tensor,
                        titles: Sequence[str],
                        path: str | Path,
                        view_size: float = 1.0,
                        title_width: float = 2.2) -> Path:
    """Write one row of depth views per object, its title on the left.

    Args:
        depth_views (Tensor): float (K, V, H, W) in [0, 1], 1 is background.
        titles (Sequence[str]): K texts; may have several lines.
        path (str | Path): PNG to write.
        view_size (float): inches per view.
        title_width (float): inches for titles.

    Returns:
        Path: of the PNG.

    Raises:
        ValueError: no objects, another shape, or another number of titles.
    """
    if depth_views.dim() != 4 or len(depth_views) == 0:
        raise ValueError(f'depth_views must have shape (K, V, H, W) with K >= 1, got {tuple(depth_views.shape)}')
    if len(titles) != len(depth_views):
        raise ValueError(f'{len(depth_views)} objects but {len(titles)} titles')
    num_objects, num_views, height, width = depth_views.shape
    # One picture per row, with a white pixel between views, is much faster than an axis per view.
    separated = torch.nn.functional.pad(depth_views.detach().float().cpu(), (0, 1), value=1.)
    rows = separated.permute(0, 2, 1, 3).reshape(num_objects, height, num_views * (width + 1))
    picture_width, picture_height = num_views * view_size, view_size * height / width
    row_height = GAP + max(picture_height, LINE_HEIGHT * max(title.count('\n') + 1 for title in titles))
    total_width, total_height = title_width + picture_width, num_objects * row_height
    figure = new_figure((total_width, total_height))
    figure.set_layout_engine('none')  # it would shrink the pictures to make room for long titles
    for number, (row, title) in enumerate(zip(rows.numpy(), titles)):
        middle = 1 - (number + 0.5) / num_objects
        figure.text(GAP / total_width, middle, title, va='center', fontsize=9)
        axis = figure.add_axes([title_width / total_width, middle - picture_height / total_height / 2,
                                picture_width / total_width, picture_height / total_height])
        axis.imshow(row, cmap='gray', vmin=0, vmax=1, interpolation='nearest', aspect='auto')
        axis.axis('off')
    return save_figure(figure, path)


def draw_image_sheet(images: Sequence[np.ndarray], titles: Sequence[str], path: str | Path,
                     image_size: float = 1., title_width: float = 2.4) -> Path:
    """Write one row of images per object, its title on the left.

    Args:
        images: Of each object uint8 (V, H, W, 3), RGB.
        titles: One per object; may have several lines.
        path: PNG to write.
        image_size: Inches per image.
        title_width: Inches for titles.

    Returns:
        ``path``.

    Raises:
        ValueError: No object, or another number of titles.
    """
    if not len(images) or len(images) != len(titles):
        raise ValueError(f'{len(images)} objects and {len(titles)} titles')
    most = max(len(views) for views in images)
    figure = new_figure((title_width + most * image_size, len(images) * image_size))
    axes = figure.subplots(len(images), 2, squeeze=False,
                           gridspec_kw=dict(width_ratios=[title_width, most * image_size]))
    for (title_axis, picture_axis), views, title in zip(axes, images, titles):
        title_axis.text(0, .5, title, va='center', fontsize=7)
        picture_axis.imshow(np.concatenate(list(views), axis=1), interpolation='nearest')
        for axis in (title_axis, picture_axis):
            axis.axis('off')
    return save_figure(figure, path)
