"""Figures that need no display and appear whole or not at all."""
import os
from pathlib import Path
from typing import Tuple, Union

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure


def new_figure(size: Tuple[float, float]) -> Figure:
    """A figure of (width, height) inches on the Agg canvas, without matplotlib's global state."""
    figure = Figure(figsize=size, layout='constrained')
    FigureCanvasAgg(figure)
    return figure


def save_figure(figure: Figure, path: Union[str, Path], dpi: int = 100, **options) -> Path:
    """Write a PNG under a temporary name and rename it; directories are made, ``options`` go to ``savefig``."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f'{path.name}.{os.getpid()}.tmp')
    try:
        figure.savefig(temporary, dpi=dpi, format='png', **options)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    return path
