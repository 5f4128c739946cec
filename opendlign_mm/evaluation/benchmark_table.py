"""Markdown table of our results next to published ones, in the layout of OpenDlign's table 1."""
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ..source_files import read_json
from .results import is_number

COLUMNS = ('top1', 'top3', 'top5')
TABLE = 'table1_zero_shot_classification'
LVIS_TABLE, LVIS = 'table7_objaverse_lvis', 'Objaverse-LVIS'
NOT_BENCHMARKS = ('training_source', 'method', 'clip')
Figures = dict[str, Sequence[float | None]]


class Row(NamedTuple):
    """A row of the table: ``figures`` maps a benchmark to top-1, top-3 and top-5 in percent, None where unknown."""
    source: str
    method: str
    clip: str
    figures: Figures


def plain(name: str) -> str:
    """Return a name in lower case without punctuation: 'Objaverse-LVIS' and 'objaverse_lvis' are one benchmark."""
    return re.sub('[^a-z0-9]', '', name.lower())


def same_clip(one: str, other: str) -> bool:
    """Return whether two names stand for one CLIP; the paper's names do not mention QuickGELU."""
    return plain(one).removesuffix('quickgelu') == plain(other).removesuffix('quickgelu')


def load_published(path: str | Path) -> list[Row]:
    """Read published figures.

    Args:
        path: JSON file with ``table1_zero_shot_classification.rows``, each with ``training_source``, ``method``,
            ``clip`` and, for each benchmark, [top1, top3, top5]. The optional ``table7_objaverse_lvis.rows``, each
            with ``method`` and ``values``, are added to the rows of the same method, except those trained on the
            ensemble of datasets.

    Raises:
        FileNotFoundError: The file does not exist.
        ValueError: The file is not JSON or has no such table.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f'file of published figures {path} does not exist')
    contents = read_json(path)
    try:
        lvis = {row['method']: _checked(row['values'], row) for row in contents.get(LVIS_TABLE, {}).get('rows', [])}
        rows = []
        for row in contents[TABLE]['rows']:
            figures = {name: _checked(value, row) for name, value in row.items() if name not in NOT_BENCHMARKS}
            if row['training_source'] != 'Ensemble' and row['method'] in lvis:
                figures[LVIS] = lvis[row['method']]
            rows.append(Row(str(row['training_source']), str(row['method']), str(row['clip']), figures))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f'{path} has no {TABLE}.rows of training_source, method, clip and benchmarks: '
                         f'{type(error).__name__} {error}') from error
    return rows


def _checked(figures: Any, row: dict) -> list[float | None]:
    """Return the figures of a benchmark; ``ValueError`` unless they are top-1, top-3 and top-5, or null."""
    if (not isinstance(figures, list) or len(figures) != len(COLUMNS)
            or not all(value is None or is_number(value) for value in figures)):
        raise ValueError(f'the figures of {row["method"]} must be [top1, top3, top5], got {figures}')
    return figures


def our_rows(results: Sequence[dict]) -> tuple[list[Row], list[str]]:
    """Return one row for each model and checkpoint, with all its benchmarks.

    Args:
        results: Contents of ``results.json`` files, see :func:`load_results`. Of two results with the same model,
            checkpoint and benchmark the later one is used.

    Returns:
        The rows, and one sentence for each result that was not used.
    """
    figures: dict[tuple, Figures] = {}
    notes = []
    for result in results:
        values = {name.rpartition('/')[2]: value for name, value in result['metrics'].items()
                  if name.startswith('zero_shot/')}
        if 'top1' not in values:
            notes.append(f'the results of {result["model"]} on {result["benchmark"]} have no zero-shot accuracy')
            continue
        key = (result['model'], result.get('clip') or '', result.get('checkpoint') or '')
        known = figures.setdefault(key, {})
        if result['benchmark'] in known:
            notes.append(f'{result["model"]} was tested more than once on {result["benchmark"]}; the last test is used')
        known[result['benchmark']] = [values.get(column) for column in COLUMNS]
    return [Row('ours', f'{model} ({Path(checkpoint).name if checkpoint else "CLIP without alignment"})', clip, values)
            for (model, clip, checkpoint), values in figures.items()], notes


def benchmark_table(ours: Sequence[Row], published: Sequence[Row] = ()) -> str:
    """Return the Markdown table; our rows, in bold, follow the published OpenDlign on the same CLIP.

    Numbers in brackets are differences to that row. The benchmarks of the published table come first, in its order;
    Objaverse-LVIS, which table 1 does not have, is shown only if we have results on it.

    Args:
        ours: Our rows.
        published: Published rows.
    """
    names = {plain(name): name for row in published for name in row.figures}
    tested = {plain(name): name for row in ours for name in row.figures}
    shown = [key for key in names if key in tested or key != plain(LVIS)]
    shown += [key for key in tested if key not in names]
    header = ['training source', 'method', 'CLIP'] + [
        f'{names.get(key, tested.get(key))} {column}' for key in shown for column in COLUMNS]
    lines, remaining = ['| ' + ' | '.join(header) + ' |', '|---' * 3 + '|---:' * (len(header) - 3) + '|'], list(ours)
    for row in published:
        lines.append(_line(row, shown))
        followers = [mine for mine in remaining if plain(row.method).startswith('opendlign') and mine.clip
                     and same_clip(mine.clip, row.clip)]
        lines += [_line(mine, shown, row) for mine in followers]
        remaining = [mine for mine in remaining if mine not in followers]
    return '\n'.join(lines + [_line(mine, shown) for mine in remaining]) + '\n'


def _line(row: Row, shown: Sequence[str], reference: Row | None = None) -> str:
    """Return a line of the table, with differences to ``reference`` if there is one."""
    own, other = ({plain(name): values for name, values in (each.figures if each else {}).items()}
                  for each in (row, reference))
    cells = []
    for key in shown:
        for value, published in zip(own.get(key, [None] * 3), other.get(key, [None] * 3), strict=True):
            difference = '' if value is None or published is None else f' ({value - published:+.1f})'
            cells.append('-' if value is None else f'{value:.1f}{difference}')
    if row.source == 'ours':
        cells = [cell if cell == '-' else f'**{cell}**' for cell in cells]
        row = row._replace(method=f'**{row.method}**')
    return '| ' + ' | '.join([row.source, row.method, row.clip, *cells]) + ' |'
