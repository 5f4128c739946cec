"""Interactive 3D figures of the page: points, and boxes with their names."""
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

MAX_DRAWN = 30_000
# Distinct on white, also for most color-blind readers (Okabe and Ito, without the yellow).
PALETTE = ('#d55e00', '#0072b2', '#009e73', '#cc79a7', '#e69f00', '#56b4e9', '#000000')
# A path along all edges of a box; corner 4 x + 2 y + z. None interrupts the line.
_EDGES = (0, 4, 6, 2, 0, 1, 5, 7, 3, 1, None, 4, 5, None, 6, 7, None, 2, 3)


def draw_points(points: np.ndarray) -> 'Figure':
    """Draw the points of a shape, float (N, 3), colored by height."""
    shown = _thinned(points)
    return _figure(points[shown], points[shown, 2], 2.)


def draw_boxes(points: np.ndarray, colors: np.ndarray | None, boxes: np.ndarray, labels: Sequence[str],
               scores: Sequence[float]) -> 'Figure':
    """Draw a scene from above a corner, with boxes that tell their label and score under the pointer.

    Args:
        points: float (N, 3) in meters, z up.
        colors: float (N, 3) in [0, 1], or None.
        boxes: float (K, 7): center, sizes, yaw.
        labels: Names of the boxes; those of one name have one color.
        scores: Scores of the boxes.
    """
    import plotly.graph_objects as go
    shown = _without_ceiling(points)
    shown = shown[_thinned(points[shown])]
    values = points[shown, 2] if colors is None else [
        f'rgb({red},{green},{blue})' for red, green, blue in (colors[shown] * 255).round().astype(int)]
    figure = _figure(points[shown], values, 1.6, 1.5)
    for number, name in enumerate(dict.fromkeys(labels)):
        own = [index for index, label in enumerate(labels) if label == name]
        corners = box_corners(boxes[own])
        color = PALETTE[number % len(PALETTE)]
        x, y, z = ([None if corner is None else box[corner, axis] for box in corners for corner in (*_EDGES, None)]
                   for axis in range(3))
        figure.add_trace(go.Scatter3d(x=x, y=y, z=z, mode='lines', line=dict(color=color, width=5), hoverinfo='skip',
                                      name=name, legendgroup=name))
        top = corners[:, :, 2].max(axis=1)
        texts = [f'{name}<br>score {scores[index]:.2f}' for index in own]
        figure.add_trace(go.Scatter3d(
            x=boxes[own, 0], y=boxes[own, 1], z=top, mode='markers+text', text=[f'{index + 1} {name}' for index in own],
            hovertext=texts, hoverinfo='text', textposition='top center', textfont=dict(color=color, size=13),
            marker=dict(color=color, size=5, symbol='diamond'), name=name, legendgroup=name, showlegend=False))
    return figure


def box_corners(boxes: np.ndarray) -> np.ndarray:
    """Return the corners, float (K, 8, 3), of boxes (K, 7): center, sizes, yaw counterclockwise about z."""
    signs = np.array([[x, y, z] for x in (-.5, .5) for y in (-.5, .5) for z in (-.5, .5)])
    local = signs * boxes[:, None, 3:6]
    cos, sin = np.cos(boxes[:, 6:7]), np.sin(boxes[:, 6:7])
    turned = np.stack([local[..., 0] * cos - local[..., 1] * sin, local[..., 0] * sin + local[..., 1] * cos,
                       local[..., 2]], axis=-1)
    return boxes[:, None, :3] + turned


def _figure(points: np.ndarray, values: 'np.ndarray | list[str]', size: float, height: float = 1.1) -> 'Figure':
    import plotly.graph_objects as go
    eye = dict(x=1., y=-1.2, z=height)
    axis = dict(title='', showticklabels=False, showbackground=False, showgrid=False, zeroline=False, showspikes=False)
    figure = go.Figure(go.Scatter3d(
        x=points[:, 0].astype(np.float32), y=points[:, 1].astype(np.float32), z=points[:, 2].astype(np.float32),
        mode='markers', hoverinfo='skip', showlegend=False,
        marker=dict(size=size, color=values, colorscale='Viridis')))
    figure.update_layout(
        margin=dict(l=0, r=0, t=0, b=30), height=470, uirevision='keep', paper_bgcolor='white', font_color='#222',
        legend=dict(orientation='h', x=0, y=0, yanchor='top', itemsizing='constant'),
        scene=dict(aspectmode='data', xaxis=axis, yaxis=axis, zaxis=axis,
                   camera=dict(eye=eye, center=dict(x=0, y=0, z=-.1))))
    return figure


def _thinned(points: np.ndarray) -> np.ndarray:
    if len(points) <= MAX_DRAWN:
        return np.arange(len(points))
    return np.sort(np.random.default_rng(0).choice(len(points), MAX_DRAWN, replace=False))


def _without_ceiling(points: np.ndarray) -> np.ndarray:
    """Return the indices of the points below the upper tenth of the height, which would hide a room from above."""
    low, high = np.quantile(points[:, 2], [.01, .99])
    return np.flatnonzero(points[:, 2] <= low + .9 * (high - low)) if high - low > 1.5 else np.arange(len(points))
