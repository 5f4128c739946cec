"""Everything drawn for one scene: an interactive HTML page, a figure from above and a sheet of depth views."""
from __future__ import annotations

import base64
import html
import io
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ..atomic_files import atomic_write
from ..structures import SceneDetections
from .boxes import draw_scene_from_above, visible_points
from .oblique import draw_scene_at_an_angle
from .sheets import depth_contact_sheet

if TYPE_CHECKING:  # mmdet3d's structures take 11 seconds to import
    from mmdet3d.structures import BaseInstance3DBoxes

SCRIPT = 'plotly.min.js'
PREDICTED, TRUTH = '#d62728', '#2ca02c'
# A path along all edges of a box; None interrupts the line. Corners 0, 3, 7, 4 are the bottom, 1, 2, 6, 5 above them.
EDGES = (0, 3, 7, 4, 0, 1, 2, 6, 5, 1, None, 3, 2, None, 7, 6, None, 4, 5, None)
STYLE = '''body {font: 14px sans-serif; margin: 1em auto; max-width: 1280px; padding: 0 1em}
h1 {font-size: 1.3em} .plot {height: 75vh; border: 1px solid #ddd}
.box {display: flex; gap: 1em; align-items: center; border-top: 1px solid #ddd; padding: .6em 0}
.classes {flex: 0 0 250px} .classes b {color: #d62728} .views {min-width: 0} .views img {max-width: 100%}
.bar {position: relative; margin: 1px 0; padding: 1px 4px}
.bar i {position: absolute; left: 0; top: 0; bottom: 0; background: #f7c8c8; z-index: -1} .match {color: #2a7a2a}'''


def draw_scene(scene: SceneDetections, out_dir: str | Path, self_contained: bool = False) -> list[Path]:
    """Draw the detections of one scene.

    Args:
        scene: Scene to draw, as :func:`.apis.detect_scene.detect_scene` returns it.
        out_dir: Folder of the files.
        self_contained: See :func:`write_scene_page`.

    Returns:
        Paths of ``SCENE.html``, ``SCENE_boxes.png``, ``SCENE_angle.png`` and, if anything was detected,
        ``SCENE_views.png``.
    """
    out_dir = Path(out_dir)
    paths = [
        write_scene_page(scene, out_dir / f'{scene.name}.html', self_contained),
        draw_scene_from_above(scene.points, out_dir / f'{scene.name}_boxes.png', scene.boxes, _numbered(scene.labels),
                              scene.gt_boxes, scene.gt_labels, scene.name),
        draw_scene_at_an_angle(scene.points, out_dir / f'{scene.name}_angle.png', scene.boxes, scene.labels, scene.name)
    ]
    if scene.depth_views is None:
        return paths
    titles = ['\n'.join([f'{number}:', *(f'{name} {value:.2f}' for name, value in classes), match]).rstrip()
              for number, (classes, match) in enumerate(zip(scene.classes, scene.matches, strict=True), start=1)]
    return paths + [depth_contact_sheet(scene.depth_views, titles, out_dir / f'{scene.name}_views.png')]


def scene_picture(scene: SceneDetections) -> np.ndarray:
    """Return the figure of a scene from above with its boxes, uint8 (H, W, 3)."""
    with tempfile.TemporaryDirectory() as folder:
        path = draw_scene_from_above(scene.points, Path(folder) / 'scene.png', scene.boxes, _numbered(scene.labels),
                                     scene.gt_boxes, scene.gt_labels, scene.name)
        return np.asarray(Image.open(path).convert('RGB'))


def write_scene_page(scene: SceneDetections, path: str | Path, self_contained: bool = False) -> Path:
    """Write an HTML page of one scene.

    The page shows the colored points, the predicted and the ground-truth boxes with their classes and scores. Each of
    these can be switched on and off in the legend; ground-truth labels are hidden by default. Hover over the marker on
    a box to see its label. Below the scene, each predicted box has a row with its most probable classes and its depth
    views. ``plotly.min.js`` is written next to the page, which needs no network.

    Args:
        scene: Scene to show.
        path: HTML file to write.
        self_contained: Whether the page holds ``plotly.min.js`` (5 MB) itself, so that it can be sent alone.

    Returns:
        Path of the page.
    """
    from plotly.io import to_html
    from plotly.offline import get_plotlyjs
    path = Path(path)
    loading = f'<script>{get_plotlyjs()}</script>' if self_contained else f'<script src="{SCRIPT}"></script>'
    script = path.with_name(SCRIPT)
    if not self_contained and not script.is_file():
        with atomic_write(script) as unfinished:
            unfinished.write_text(get_plotlyjs(), encoding='utf-8')
    # Validation of the color of each point would take longer than all else.
    plot = to_html(scene_figure(scene), full_html=False, include_plotlyjs=False, default_height='100%', validate=False,
                   config=dict(displaylogo=False, responsive=True))
    title = f'{html.escape(scene.name)}: {len(scene.boxes)} predicted boxes'
    if scene.gt_boxes is not None:
        title += f', {len(scene.gt_boxes)} ground-truth boxes'
    page = [
        '<!DOCTYPE html>', '<html lang="en"><head><meta charset="utf-8">', f'<title>{title}</title>',
        f'<style>{STYLE}</style>', f'{loading}</head><body>', f'<h1>{title}</h1>',
        f'<div class="plot">{plot}</div>', *_rows(scene), '</body></html>'
    ]
    with atomic_write(path) as unfinished:
        unfinished.write_text('\n'.join(page), encoding='utf-8')
    return path


def scene_figure(scene: SceneDetections) -> dict:
    """Return the 3D figure of the points and boxes of a scene, as plotly's JSON has it: ``data`` and ``layout``."""
    xyz, values = visible_points(scene.points)
    colors: list[Any] = values.tolist()  # heights, or r, g, b
    if values.ndim == 2:
        colors = ['rgb({},{},{})'.format(*row) for row in (values * 255).round().astype(int).tolist()]
    x, y, z = np.round(xyz[:, :3].astype(np.float64), 4).T.tolist() if len(xyz) else ([], [], [])
    traces = [
        dict(type='scatter3d', x=x, y=y, z=z, mode='markers', name='points', hoverinfo='skip',
             marker=dict(size=1.6, color=colors, colorscale='Viridis')),
        _outlines(scene.boxes, PREDICTED, 'predicted boxes'),
        _labels(scene.boxes, _numbered(scene.labels), scene.matches, PREDICTED, 'predicted classes')]
    if scene.gt_boxes is not None:
        traces.append(_outlines(scene.gt_boxes, TRUTH, 'ground-truth boxes'))
        labels = _labels(scene.gt_boxes, scene.gt_labels, [''] * len(scene.gt_labels), TRUTH, 'ground-truth classes')
        traces.append(dict(labels, visible='legendonly'))
    layout = dict(
        margin=dict(l=0, r=0, t=0, b=0), legend=dict(x=0, y=1, itemsizing='constant'), uirevision='keep',
        # From above the near corner, far enough that a room fits into the frame.
        scene=dict(aspectmode='data', xaxis=dict(title='x in m'), yaxis=dict(title='y in m'),
                   zaxis=dict(title='z in m'),
                   camera=dict(eye=dict(x=1., y=-1.1, z=1.4), center=dict(x=0, y=0, z=-.15))))
    return dict(data=traces, layout=layout)


def _outlines(boxes: BaseInstance3DBoxes, color: str, name: str) -> dict:
    """Return the trace of the edges of boxes."""
    x, y, z = ([None if corner is None else float(box[corner, axis]) for box in _corners(boxes) for corner in EDGES]
               for axis in range(3))
    return dict(type='scatter3d', x=x, y=y, z=z, mode='lines', line=dict(color=color, width=4), hoverinfo='skip',
                name=name)


def _labels(boxes: BaseInstance3DBoxes, labels: Sequence[str], details: Sequence[str], color: str, name: str) -> dict:
    """Return the trace of markers and labels on top of boxes; ``details`` appear under the pointer."""
    corners = _corners(boxes)
    hover = [f'{html.escape(label)}<br>{html.escape(detail)}' for label, detail in zip(labels, details, strict=True)]
    return dict(
        type='scatter3d', x=corners[..., 0].mean(axis=1).tolist(), y=corners[..., 1].mean(axis=1).tolist(),
        z=corners[..., 2].max(axis=1).tolist(), mode='markers+text', marker=dict(color=color, size=4, symbol='diamond'),
        text=[f'<b>{html.escape(label)}</b>' for label in labels], textposition='top center', hoverinfo='text',
        hovertext=hover, textfont=dict(color=color, size=12), name=name)


def _corners(boxes: BaseInstance3DBoxes) -> np.ndarray:
    """Return the corners (M, 8, 3) of boxes."""
    return boxes.corners.detach().cpu().numpy() if len(boxes) else np.zeros((0, 8, 3))


def _numbered(labels: Sequence[str]) -> list[str]:
    return [f'{number} {label}' for number, label in enumerate(labels, start=1)]


def _rows(scene: SceneDetections) -> list[str]:
    """Return the HTML of the row of each predicted box."""
    if scene.depth_views is None:
        return []
    rows = []
    boxes = zip(scene.labels, scene.classes, scene.matches, scene.depth_views, strict=True)
    for number, (label, classes, match, depth_views) in enumerate(boxes, start=1):
        bars = ''.join(
            f'<div class="bar"><i style="width:{100 * value:.1f}%"></i>{html.escape(name)} {value:.2f}</div>'
            for name, value in classes)
        rows.append(
            f'<div class="box"><div class="classes"><b>{number} {html.escape(label)}</b>{bars}'
            f'<span class="match">{html.escape(match)}</span></div><div class="views">'
            f'<img alt="depth views of box {number}" src="data:image/png;base64,{_views_png(depth_views)}">'
            '</div></div>')
    return rows


def _views_png(depth_views: Tensor) -> str:
    """Encode views (V, H, W) in [0, 1], side by side, as a base64 PNG."""
    row = torch.cat(list(torch.nn.functional.pad(depth_views.detach().float().cpu(), (0, 2), value=.85)), dim=1)
    contents = io.BytesIO()
    Image.fromarray((row.clamp(0, 1) * 255).round().byte().numpy()).save(contents, 'PNG', compress_level=2)
    return base64.b64encode(contents.getvalue()).decode('ascii')
