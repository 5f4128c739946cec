"""Pictures of classified shapes, and one HTML page of all of them that needs no other file."""
import base64
import html
import io
import tempfile
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from ..atomic_files import atomic_write
from .scene_page import STYLE
from .sheets import depth_contact_sheet

MAX_ON_PAGE = 500  # shapes, 50 KB each


class ShapePage:
    """Pictures of shapes in a folder, and ``index.html`` with all predictions.

    Args:
        out_dir: Folder of the files; made if it does not exist.
    """

    def __init__(self, out_dir: Path) -> None:
        self.out_dir = out_dir
        self.rows: list[str] = []
        self.num_shapes = self.num_failed = 0

    def add(self, prediction: dict) -> None:
        """Add a prediction: ``input``, and ``error`` or ``labels``, ``scores``, ``_key``, ``_views`` (V, H, W)."""
        self.num_shapes += 1
        if 'error' in prediction:
            self.num_failed += 1
        else:
            path = self.out_dir / f'{prediction["_key"]}.png'
            depth_contact_sheet(_unit_floats(prediction['_views'])[None], [_title(prediction)], path)
        if len(self.rows) < MAX_ON_PAGE:
            self.rows.append(_row(prediction))

    def write(self) -> Path:
        """Write the page."""
        title = f'{self.num_shapes} shapes' + f', {self.num_failed} of them cannot be used' * bool(self.num_failed)
        rest = self.num_shapes - len(self.rows)
        page = ['<!DOCTYPE html>', '<html lang="en"><head><meta charset="utf-8">',
                '<meta name="viewport" content="width=device-width, initial-scale=1">', f'<title>{title}</title>',
                f'<style>{STYLE}</style></head><body>', f'<h1>{title}</h1>', *self.rows,
                f'<p>... and {rest} more, whose pictures are in this folder</p>' * bool(rest), '</body></html>']
        path = self.out_dir / 'index.html'
        with atomic_write(path) as unfinished:
            unfinished.write_text('\n'.join(page), encoding='utf-8')
        return path


def shape_picture(prediction: dict) -> np.ndarray:
    """Return a picture of a classified shape, uint8 (H, W, 3): its depth views, and its best classes."""
    with tempfile.TemporaryDirectory() as folder:
        path = depth_contact_sheet(_unit_floats(prediction['_views'])[None], [_title(prediction)],
                                   Path(folder) / 'shape.png')
        return np.asarray(Image.open(path).convert('RGB'))


def _unit_floats(views: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(views).float() / 255


def _title(prediction: dict) -> str:
    name = prediction['input']
    name = name if len(name) <= 30 else f'...{name[-27:]}'
    best = zip(prediction['labels'], prediction['scores'], strict=True)
    return '\n'.join([name, *(f'{label} {score:.2f}' for label, score in best)])


def _row(prediction: dict) -> str:
    """Return the HTML of one shape."""
    name = html.escape(prediction['input'])
    if 'error' in prediction:
        return f'<div class="box"><div class="classes"><b>{name}</b><br>{html.escape(prediction["error"])}</div></div>'
    bars = ''.join(f'<div class="bar"><i style="width:{100 * score:.1f}%"></i>{html.escape(label)} {score:.2f}</div>'
                   for label, score in zip(prediction['labels'], prediction['scores'], strict=True))
    views = np.pad(prediction['_views'], ((0, 0), (0, 0), (0, 2)), constant_values=217)
    contents = io.BytesIO()
    Image.fromarray(np.concatenate(list(views), axis=1)).save(contents, 'PNG')
    encoded = base64.b64encode(contents.getvalue()).decode('ascii')
    return (f'<div class="box"><div class="classes"><b>{name}</b>{bars}</div><div class="views">'
            f'<img alt="depth views of {name}" src="data:image/png;base64,{encoded}"></div></div>')
