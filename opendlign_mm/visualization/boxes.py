"""Figure of a scene seen from above, with its boxes."""
from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Polygon
from matplotlib.text import Annotation
from matplotlib.transforms import BboxBase
from torch import Tensor

from .figures import new_figure, plain_text, save_figure

if TYPE_CHECKING:  # mmdet3d's structures take 11 seconds to import
    from mmdet3d.structures import BaseInstance3DBoxes

CUT_HEIGHT = 2.2  # meters above the lowest points, so that the ceiling does not hide the room
MAX_POINTS = 60000
MAX_LINES = 8  # by which a label moves to make room for others


def draw_scene_from_above(points: Tensor,
                          path: str | Path,
                          predicted: BaseInstance3DBoxes | None = None,
                          predicted_names: Sequence[str] = (),
                          truth: BaseInstance3DBoxes | None = None,
                          truth_names: Sequence[str] = (),
                          title: str = '') -> Path:
    """Draw a scene from above: ground-truth boxes on the left, predicted ones on the right.

    Args:
        points: Points in meters, float (N, >=3), z up. With 6 columns or more the last three are r, g, b in [0, 255] or
            [0, 1]; otherwise points are colored by height.
        path: PNG to write.
        predicted: Predicted boxes; None for none.
        predicted_names: Label of each predicted box.
        truth: Ground-truth boxes; with None there is no left half.
        truth_names: Label of each ground-truth box.
        title: Title of the figure.

    Returns:
        Path of the PNG.

    Raises:
        ValueError: There are not as many labels as boxes.
    """
    panels = [('predicted', predicted, predicted_names, 'tab:red')]
    if truth is not None:
        panels.insert(0, ('ground truth', truth, truth_names, 'tab:green'))
    figure = new_figure((9 * len(panels), 9))
    figure.suptitle(plain_text(title))
    xyz, colors = visible_points(points)
    labels = []
    axes = figure.subplots(1, len(panels), squeeze=False)[0]
    for axis, (name, boxes, names, color) in zip(axes, panels, strict=True):
        axis.scatter(xyz[:, 0], xyz[:, 1], c=colors, s=4, linewidths=0)
        count = 0 if boxes is None else len(boxes)
        if count != len(names):
            raise ValueError(f'{count} {name} boxes but {len(names)} names')
        axis.set(title=f'{name}: {count} boxes', aspect='equal', xlabel='x in m', ylabel='y in m')
        labels.append(_draw_boxes(axis, boxes, names, color) if boxes is not None and count else [])
    figure.draw_without_rendering()  # labels have no position and size before
    for panel_labels in labels:
        spread_labels(panel_labels, 72 / figure.dpi)
    return save_figure(figure, path)


def visible_points(points: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Select the points to draw: at most ``MAX_POINTS``, sorted by height, without the ceiling and non-finite ones.

    Args:
        points: Points, float (N, >=3), as in :func:`draw_scene_from_above`.

    Returns:
        Points (M, >=3), and colors (M, 3) in [0, 1] or, where points have none, heights (M,).
    """
    array = points.detach().float().cpu().numpy()
    array = array[np.isfinite(array[:, :3]).all(axis=1)]
    if len(array) > MAX_POINTS:
        array = array[np.linspace(0, len(array) - 1, MAX_POINTS).astype(int)]
    if len(array):
        array = array[array[:, 2] < np.percentile(array[:, 2], 1) + CUT_HEIGHT]
    array = array[array[:, 2].argsort()]  # higher points are drawn over lower ones
    if array.shape[1] < 6 or not len(array):
        return array, array[:, 2]
    rgb = np.nan_to_num(array[:, -3:], nan=0., posinf=0., neginf=0.)
    return array, np.clip(rgb / (255 if rgb.max() > 1 else 1), 0, 1)


def _draw_boxes(axis: Axes, boxes: BaseInstance3DBoxes, names: Sequence[str], color: str) -> list[Annotation]:
    """Draw outlines and labels of boxes; return the labels."""
    # These four corners are the bottom, in order around its edge.
    bottoms = boxes.corners[:, [0, 3, 7, 4], :2].detach().cpu().numpy()
    for bottom in bottoms:
        axis.add_patch(Polygon(bottom, closed=True, fill=False, edgecolor=color, linewidth=1.5))
    return [
        axis.annotate(plain_text(name), bottom.mean(axis=0), (0, 0), textcoords='offset points', color='white',
                      fontsize=8, ha='center', va='center',
                      bbox=dict(facecolor=color, edgecolor='none', alpha=0.8, pad=1),
                      arrowprops=dict(arrowstyle='-', color=color, linewidth=0.8))
        for bottom, name in zip(bottoms, names, strict=True)
    ]


def spread_labels(labels: Sequence[Annotation], points_per_pixel: float) -> None:
    """Move labels up or down by whole lines where they would cover earlier ones; a line leads back to the box."""
    placed: list[BboxBase] = []
    for label in labels:
        patch = label.get_bbox_patch()
        assert patch is not None  # labels are annotated with a box
        bounds: BboxBase = patch.get_window_extent()
        for lines in sorted(range(-MAX_LINES, MAX_LINES + 1), key=abs):
            moved = bounds.translated(0, lines * bounds.height)
            if not any(moved.overlaps(other) for other in placed):
                label.set_position((0, lines * bounds.height * points_per_pixel))
                bounds = moved
                break
        placed.append(bounds)
