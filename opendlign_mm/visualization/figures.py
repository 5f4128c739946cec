"""Matplotlib figures that need no display and are written completely or not at all."""
from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from ..atomic_files import atomic_write


def new_figure(size: tuple[float, float]) -> Figure:
    """Create a figure of (width, height) inches on the Agg canvas, without matplotlib's global state."""
    figure = Figure(figsize=size, layout='constrained')
    FigureCanvasAgg(figure)
    return figure


def plain_text(text: str) -> str:
    """Return text that matplotlib draws as it is: dollar signs are not math, and unreadable bytes become '?'."""
    return text.encode('utf-8', 'replace').decode().replace('$', r'\$')


def save_figure(figure: Figure, path: str | Path, dpi: int = 100, **options) -> Path:
    """Write a PNG under a temporary name and rename it. Missing folders are made, ``options`` go to ``savefig``."""
    with atomic_write(path) as unfinished:
        figure.savefig(unfinished, dpi=dpi, format='png', **options)
    return Path(path)
