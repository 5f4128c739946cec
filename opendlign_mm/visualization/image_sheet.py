"""Many images of many objects in one picture."""
from pathlib import Path
from typing import Sequence, Union

import numpy as np

from .figures import new_figure, save_figure


def draw_image_sheet(images: Sequence[np.ndarray], titles: Sequence[str], path: Union[str, Path],
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
