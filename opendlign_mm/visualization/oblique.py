"""Figure of a scene seen at an angle from above, with its boxes as frames."""
from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.text import Annotation
from torch import Tensor

from ..projection.views import view_axes
from .boxes import spread_labels, visible_points
from .figures import new_figure, plain_text, save_figure

if TYPE_CHECKING:  # mmdet3d's structures take 11 seconds to import
    from mmdet3d.structures import BaseInstance3DBoxes

# Pairs of mmdet3d's corners of a box that an edge connects.
EDGES = ((0, 1), (1, 2), (2, 3), (3, 0), (4, 5), (5, 6), (6, 7), (7, 4), (0, 4), (1, 5), (2, 6), (3, 7))
BRIGHTEN = 0.75  # exponent of colors: scans are dark on a white page


def draw_scene_at_an_angle(points: Tensor, path: str | Path, boxes: BaseInstance3DBoxes | None = None,
                           names: Sequence[str] = (), title: str = '', azimuth: float = 30.,
                           elevation: float = 50.) -> Path:
    """Draw a scene without its ceiling in parallel projection.

    Args:
        points: Points in meters, float (N, >=3), z up, as in :func:`draw_scene_from_above`.
        path: PNG to write.
        boxes: Boxes to draw; None for none.
        names: Label of each box. Boxes of one class, which is the label without its last word if that is a number,
            have one color.
        title: Title of the figure.
        azimuth: Direction of the camera in degrees, see :func:`.projection.view_axes`.
        elevation: Height of the camera above the horizon in degrees.

    Returns:
        Path of the PNG.

    Raises:
        ValueError: There are not as many labels as boxes.
    """
    count = 0 if boxes is None else len(boxes)
    if count != len(names):
        raise ValueError(f'{count} boxes but {len(names)} names')
    figure = new_figure((12, 9))
    figure.suptitle(plain_text(title))
    axis = figure.subplots()
    axis.set_axis_off()
    axis.set_aspect('equal')
    right, up, toward = (axes[0].double().numpy() for axes in view_axes([azimuth], elevation, 'cpu'))
    array, colors = visible_points(points)
    order = (array[:, :3] @ toward).argsort()  # nearer points are drawn over others
    seen = array[order, :3] @ np.stack([right, up], axis=1)
    axis.scatter(seen[:, 0], seen[:, 1], c=colors[order] ** BRIGHTEN if colors.ndim == 2 else colors[order], s=5,
                 linewidths=0)
    if boxes is not None and count:
        corners = boxes.corners.detach().cpu().double().numpy()
        flat = corners @ np.stack([right, up], axis=1)
        labels = _draw_frames(axis, flat, corners @ toward, names)
        figure.draw_without_rendering()  # labels have no position and size before
        spread_labels(labels, 72 / figure.dpi)
    return save_figure(figure, path)


def _draw_frames(axis: Axes, corners: np.ndarray, nearness: np.ndarray, names: Sequence[str]) -> list[Annotation]:
    """Draw the edges of boxes, (K, 8, 2), farthest boxes first, and a label above each; return the labels."""
    classes = [' '.join(name.split()[:-1]) if _is_number(name.split()[-1]) else name for name in names]
    kinds = list(dict.fromkeys(classes))
    palette = matplotlib.colormaps['tab20'].colors
    labels: list[Annotation | None] = [None] * len(names)
    for index in nearness.mean(axis=1).argsort():
        color = palette[(2 * kinds.index(classes[index]) + kinds.index(classes[index]) // 10) % 20]
        for start, end in EDGES:
            line = corners[index, [start, end]]
            axis.plot(line[:, 0], line[:, 1], color=color, linewidth=2)
        top = corners[index, corners[index, :, 1].argmax()]
        middle = (corners[index, :, 0].min() + corners[index, :, 0].max()) / 2
        labels[index] = axis.annotate(
            plain_text(names[index]), (middle, top[1]), (0, 0), textcoords='offset points', color='white', fontsize=11,
            ha='center', va='center', bbox=dict(facecolor=color, edgecolor='none', alpha=.9, pad=2),
            arrowprops=dict(arrowstyle='-', color=color, linewidth=1))
    return [label for label in labels if label is not None]


def _is_number(word: str) -> bool:
    return word.replace('.', '', 1).isdigit()
