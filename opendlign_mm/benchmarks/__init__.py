"""Benchmarks of what takes time: one module for each suite, with ``rows`` and ``curves``.

``tools/benchmark.py`` runs them. A suite is imported when it runs: together they need most of the package.
"""
from collections.abc import Iterator
from importlib import import_module

from .measuring import Curve, Row, Settings

SUITES = ('projection', 'encode', 'align', 'detect', 'search', 'generate', 'diffusion')

__all__ = ['SUITES', 'Curve', 'Row', 'Settings', 'curves_of', 'rows_of']


def rows_of(suite: str, settings: Settings) -> Iterator[Row]:
    """Measure a suite, row by row."""
    yield from import_module(f'.{suite}', __name__).rows(settings)


def curves_of(suite: str, settings: Settings) -> Iterator[Curve]:
    """Measure the growth curves of a suite."""
    yield from import_module(f'.{suite}', __name__).curves(settings)
