"""Interactive HTML page of a scene and its detections."""
from __future__ import annotations

import base64
import html
import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ..atomic_files import atomic_write
from ..structures import SceneDetections
from .boxes import draw_scene_from_above, visible_points
from .sheets import depth_contact_sheet

if TYPE_CHECKING:  # mmdet3d's structures take 11 seconds to import
    from mmdet3d.structures import BaseInstance3DBoxes

SCRIPT = 'plotly.min.js'
PREDICTED, TRUE = '#d62728', '#2ca02c'
# A walk along all edges of a box; None lifts the pen. Corners 0, 3, 7, 4 are the bottom, 1, 2, 6, 5 above them.
EDGES = (0, 3, 7, 4, 0, 1, 2, 6, 5, 1, None, 3, 2, None, 7, 6, None, 4, 5, None)
STYLE = '''body {font: 14px sans-serif; margin: 1em auto; max-width: 1280px; padding: 0 1em}
h1 {font-size: 1.3em} .plot {height: 75vh; border: 1px solid #ddd}
.box {display: flex; gap: 1em; align-items: center; border-top: 1px solid #ddd; padding: .6em 0}
.classes {flex: 0 0 250px} .classes b {color: #d62728} .views {min-width: 0} .views img {max-width: 100%}
.bar {position: relative; margin: 1px 0; padding: 1px 4px}
.bar i {position: absolute; left: 0; top: 0; bottom: 0; background: #f7c8c8; z-index: -1} .match {color: #2a7a2a}'''


def write_scene_page(scene: SceneDetections, path: str | Path) -> Path:
    """Write an HTML page of one scene.

    The page shows the colored points, the predicted and the true boxes with their classes and scores; each of these
    can be switched on and off in the legend, names of the true boxes are off at first. The mark on top of a box says
    under the pointer what it is. Each predicted box follows with its most probable classes and its depth views.
    ``plotly.min.js`` is written beside the page, which needs no network.

    Args:
        scene (SceneDetections): what to show.
        path (str | Path): HTML to write.

    Returns:
        Path: of the page.
    """
    from plotly.offline import get_plotlyjs  # plotly takes half a second to import
    path = Path(path)
    script = path.with_name(SCRIPT)
    if not script.is_file():
        with atomic_write(script) as unfinished:
            unfinished.write_text(get_plotlyjs(), encoding='utf-8')
    plot = _figure(scene).to_html(full_html=False, include_plotlyjs=False, default_height='100%',
                                  config=dict(displaylogo=False, responsive=True))
    title = f'{html.escape(scene.name)}: {len(scene.boxes)} predicted boxes'
    if scene.true_boxes is not None:
        title += f', {len(scene.true_boxes)} true ones'
    page = [
        '<!DOCTYPE html>', '<html lang="en"><head><meta charset="utf-8">', f'<title>{title}</title>',
        f'<style>{STYLE}</style>', f'<script src="{SCRIPT}"></script></head><body>', f'<h1>{title}</h1>',
        f'<div class="plot">{plot}</div>', *_rows(scene), '</body></html>'
    ]
    with atomic_write(path) as unfinished:
        unfinished.write_text('\n'.join(page), encoding='utf-8')
    return path


def _figure(scene: SceneDetections):
    import plotly.graph_objects as go
    xyz, colors = visible_points(scene.points)
    if colors.ndim == 2:
        colors = [f'rgb({red},{green},{blue})' for red, green, blue in (colors * 255).round().astype(int)]
    figure = go.Figure(go.Scatter3d(
        x=xyz[:, 0], y=xyz[:, 1], z=xyz[:, 2], mode='markers', name='points', hoverinfo='skip',
        marker=dict(size=1.6, color=colors, colorscale='Viridis')))
    numbered = [f'{number} {label}' for number, label in enumerate(scene.labels, start=1)]
    groups = [('predicted', scene.boxes, numbered, scene.matches, PREDICTED, True)]
    if scene.true_boxes is not None:
        groups.append(('true', scene.true_boxes, scene.true_labels, [''] * len(scene.true_labels), TRUE, 'legendonly'))
    for name, boxes, labels, details, color, names_visible in groups:
        outlines, texts = _traces(boxes, labels, details)
        figure.add_trace(outlines(go, color, name=f'{name} boxes'))
        figure.add_trace(texts(go, color, name=f'{name} classes', visible=names_visible))
    figure.update_layout(
        margin=dict(l=0, r=0, t=0, b=0), legend=dict(x=0, y=1, itemsizing='constant'), uirevision='keep',
        # From above the near corner, far enough that a room fits into the frame.
        scene=dict(aspectmode='data', xaxis_title='x in m', yaxis_title='y in m', zaxis_title='z in m',
                   camera=dict(eye=dict(x=1., y=-1.1, z=1.4), center=dict(x=0, y=0, z=-.15))))
    return figure


def _traces(boxes: BaseInstance3DBoxes, labels: Sequence[str], details: Sequence[str]) -> list:
    """Outlines, and texts above the boxes, as functions that make the trace."""
    corners = boxes.corners.detach().cpu().numpy() if len(boxes) else np.zeros((0, 8, 3))
    x, y, z = ([None if place is None else float(box[place, axis]) for box in corners for place in EDGES]
               for axis in range(3))
    tops = np.stack([corners[..., 0].mean(axis=1), corners[..., 1].mean(axis=1), corners[..., 2].max(axis=1)]
                    ) if len(boxes) else np.zeros((3, 0))

    def outlines(go, color, **options):
        return go.Scatter3d(x=x, y=y, z=z, mode='lines', line=dict(color=color, width=4), hoverinfo='skip', **options)

    def texts(go, color, **options):
        hover = [f'{html.escape(label)}<br>{html.escape(detail)}' for label, detail in zip(labels, details)]
        return go.Scatter3d(
            x=tops[0], y=tops[1], z=tops[2], mode='markers+text', marker=dict(color=color, size=4, symbol='diamond'),
            text=[f'<b>{html.escape(label)}</b>' for label in labels], textposition='top center', hovertext=hover,
            hoverinfo='text', textfont=dict(color=color, size=12), **options)

    return [outlines, texts]


def _rows(scene: SceneDetections) -> list[str]:
    """A piece of HTML for each predicted box."""
    rows = []
    for number, (label, classes, match) in enumerate(zip(scene.labels, scene.classes, scene.matches), start=1):
        bars = ''.join(
            f'<div class="bar"><i style="width:{100 * value:.1f}%"></i>{html.escape(name)} {value:.2f}</div>'
            for name, value in classes)
        rows.append(
            f'<div class="box"><div class="classes"><b>{number} {html.escape(label)}</b>{bars}'
            f'<span class="match">{html.escape(match)}</span></div><div class="views">'
            f'<img alt="depth views of box {number}" src="data:image/png;base64,'
            f'{_views_png(scene.depth_views[number - 1])}"></div></div>')
    return rows


def _views_png(depth_views: Tensor) -> str:
    """Views (V, H, W) in [0, 1] side by side, as base64 of a PNG."""
    row = torch.cat(list(torch.nn.functional.pad(depth_views.detach().float().cpu(), (0, 2), value=.85)), dim=1)
    contents = io.BytesIO()
    Image.fromarray((row.clamp(0, 1) * 255).round().byte().numpy()).save(contents, 'PNG')
    return base64.b64encode(contents.getvalue()).decode('ascii')


def draw_scene(scene: SceneDetections, out_dir: str | Path) -> list[Path]:
    """Draw the detections of one scene.

    Args:
        scene: What to draw, as :func:`opendlign_mm.apis.detect_scene.detect_scene` returns it.
        out_dir: Folder of the files.

    Returns:
        Paths of ``SCENE.html``, ``SCENE_boxes.png`` and, if anything was detected, ``SCENE_views.png``.
    """
    out_dir = Path(out_dir)
    numbered = [f'{number} {label}' for number, label in enumerate(scene.labels, start=1)]
    paths = [
        write_scene_page(scene, out_dir / f'{scene.name}.html'),
        draw_scene_from_above(scene.points, out_dir / f'{scene.name}_boxes.png', scene.boxes, numbered,
                              scene.true_boxes, scene.true_labels, scene.name)
    ]
    if scene.depth_views is None:
        return paths
    titles = ['\n'.join([f'{number}:', *(f'{name} {value:.2f}' for name, value in classes), match]).rstrip()
              for number, (classes, match) in enumerate(zip(scene.classes, scene.matches), start=1)]
    return paths + [depth_contact_sheet(scene.depth_views, titles, out_dir / f'{scene.name}_views.png')]
