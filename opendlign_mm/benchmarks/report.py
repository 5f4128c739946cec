"""What a benchmark has found: as JSON, as a table in Markdown, and its curves as plots."""
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..visualization.figures import new_figure, save_figure
from .measuring import Curve, Row


def as_json(machine: dict[str, Any], rows: Sequence[Row], curves: Sequence[Curve]) -> dict[str, Any]:
    """Return all results."""
    return dict(machine=machine, rows=[row.as_dict() for row in rows],
                curves=[dict(vars(curve), sizes=list(curve.sizes), seconds=list(curve.seconds)) for curve in curves])


def table(rows: Sequence[Row]) -> str:
    """Return the rows as a Markdown table."""
    lines = ['| what | dtype | time | compared with | its time | ratio | share of the limit | further |',
             '|---' * 8 + '|']
    for row in rows:
        compared = ['', '', ''] if row.ratio is None or row.other_seconds is None else [
            row.other, f'{time_text(row.other_seconds)} / {row.unit}', f'{row.ratio:.2f} x']
        share = '' if row.share_of_limit is None else f'{100 * row.share_of_limit:.3g} %'
        facts = ', '.join(f'{name.replace("_", " ")} {value:.4g}' if isinstance(value, float) else
                          f'{name.replace("_", " ")} {value}' for name, value in row.facts.items())
        lines.append(f'| {row.what} | {row.dtype} | {time_text(row.seconds)} / {row.unit} | ' + ' | '.join(
            [*compared, share, facts]) + ' |')
    return '\n'.join(lines)


def time_text(seconds: float) -> str:
    """Return a time with three digits in a fitting unit."""
    for factor, unit in ((1, 's'), (1e3, 'ms')):
        if seconds * factor >= 1:
            return f'{seconds * factor:.3g} {unit}'
    return f'{seconds * 1e6:.3g} µs'


def draw_curves(curves: Sequence[Curve], path: Path) -> Path:
    """Draw each curve in a plot of its own, both axes logarithmic, into one PNG."""
    columns = min(3, len(curves))
    lines = -(-len(curves) // columns)
    figure = new_figure((4 * columns, 3 * lines))
    plots = figure.subplots(lines, columns, squeeze=False).flatten()
    for curve, axis in zip(curves, plots[:len(curves)], strict=True):
        axis.plot(curve.sizes, curve.seconds, 'o-', color='tab:blue')
        axis.set(title=curve.what, xlabel=curve.size, ylabel='seconds', xscale='log', yscale='log')
        axis.set_xticks(curve.sizes, [f'{size:,}' for size in curve.sizes], fontsize=7)
        axis.tick_params(axis='x', which='minor', bottom=False, labelbottom=False)
        axis.title.set_fontsize(9)
        axis.grid(alpha=.3)
    for axis in plots[len(curves):]:
        axis.set_axis_off()
    return save_figure(figure, path)
