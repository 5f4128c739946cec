"""A scene from above, with boxes."""
from pathlib import Path
from typing import Optional, Sequence, Union

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.patches import Polygon
from torch import Tensor

from .figures import new_figure, save_figure

CUT_HEIGHT = 2.2  # metres above the lowest points: a ceiling would hide the room
MAX_POINTS = 60000


def draw_scene_from_above(points: Tensor,
                          path: Union[str, Path],
                          predicted=None,
                          predicted_names: Sequence[str] = (),
                          truth=None,
                          truth_names: Sequence[str] = (),
                          title: str = '') -> Path:
    """Write a picture of a scene from above: true boxes on the left, predicted ones on the right.

    Args:
        points (Tensor): float (N, >=3), metres, z up; with 6 columns or more the last three are r g b in [0, 255] or
            [0, 1], otherwise points are coloured by height.
        path (str | Path): PNG to write.
        predicted (BaseInstance3DBoxes, optional): predicted boxes; leave out for none.
        predicted_names (Sequence[str]): one label per predicted box.
        truth (BaseInstance3DBoxes, optional): true boxes; without them there is no left half.
        truth_names (Sequence[str]): one label per true box.
        title (str): of the picture.

    Returns:
        Path: of the PNG.
    """
    panels = [('predicted', predicted, predicted_names, 'tab:red')]
    if truth is not None:
        panels.insert(0, ('ground truth', truth, truth_names, 'tab:green'))
    figure = new_figure((9 * len(panels), 9))
    figure.suptitle(title)
    xyz, colors = visible_points(points)
    for axis, (name, boxes, names, color) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels):
        axis.scatter(xyz[:, 0], xyz[:, 1], c=colors, s=2, linewidths=0)
        count = 0 if boxes is None else len(boxes)
        if count != len(names):
            raise ValueError(f'{count} {name} boxes but {len(names)} names')
        if count:
            _draw_boxes(axis, boxes, names, color)
        axis.set(title=f'{name}: {count} boxes', aspect='equal', xlabel='x in m', ylabel='y in m')
    return save_figure(figure, path)


def visible_points(points: Tensor) -> tuple:
    """Points to draw: at most ``MAX_POINTS``, by height, without the ceiling.

    Args:
        points (Tensor): float (N, >=3), see :func:`draw_scene_from_above`.

    Returns:
        tuple: array (M, >=3), and colours (M, 3) in [0, 1] or, where points have none, heights (M,).
    """
    array = points.detach().float().cpu().numpy()
    if len(array) > MAX_POINTS:
        array = array[np.linspace(0, len(array) - 1, MAX_POINTS).astype(int)]
    if len(array):
        array = array[array[:, 2] < np.percentile(array[:, 2], 1) + CUT_HEIGHT]
    array = array[array[:, 2].argsort()]  # what is higher is drawn later
    if array.shape[1] < 6 or not len(array):
        return array, array[:, 2]
    rgb = array[:, -3:]
    return array, np.clip(rgb / (255 if rgb.max() > 1 else 1), 0, 1)


def _draw_boxes(axis: Axes, boxes, names: Sequence[str], color: str, width: Optional[float] = 1.5) -> None:
    # Four of the corners are those of the bottom, in the order of a walk around it.
    bottoms = boxes.corners[:, [0, 3, 7, 4], :2].detach().cpu()
    for bottom, name in zip(torch.as_tensor(bottoms).numpy(), names):
        axis.add_patch(Polygon(bottom, closed=True, fill=False, edgecolor=color, linewidth=width))
        axis.text(*bottom.mean(axis=0), name, color='white', fontsize=8, ha='center', va='center',
                  bbox=dict(facecolor=color, edgecolor='none', alpha=0.7, pad=1))
