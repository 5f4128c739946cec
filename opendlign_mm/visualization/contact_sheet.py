"""Many depth views in one picture."""
from pathlib import Path
from typing import Sequence, Union

import torch
from torch import Tensor

from .figures import new_figure, save_figure


def depth_contact_sheet(depth_views: Tensor,
                        titles: Sequence[str],
                        path: Union[str, Path],
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
    figure = new_figure((title_width + num_views * view_size, num_objects * view_size * height / width))
    figure.get_layout_engine().set(h_pad=0.02, w_pad=0.02, hspace=0, wspace=0)
    axes = figure.subplots(
        num_objects, 2, squeeze=False, gridspec_kw=dict(width_ratios=[title_width, num_views * view_size]))
    for (title_axis, picture_axis), row, title in zip(axes, rows.numpy(), titles):
        title_axis.text(0, 0.5, title, va='center', fontsize=9)
        picture_axis.imshow(row, cmap='gray', vmin=0, vmax=1, interpolation='nearest')
        title_axis.axis('off')
        picture_axis.axis('off')
        picture_axis.set_anchor('W')
    return save_figure(figure, path)
