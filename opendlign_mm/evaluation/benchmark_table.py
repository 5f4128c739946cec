"""Our results beside published ones, in the layout of OpenDlign's table 1."""
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

COLUMNS = ('top1', 'top3', 'top5')
TABLE = 'table1_zero_shot_classification'
LVIS_TABLE, LVIS = 'table7_objaverse_lvis', 'Objaverse-LVIS'
NOT_BENCHMARKS = ('training_source', 'method', 'clip')
Figures = dict[str, Sequence[float | None]]


class Row(NamedTuple):
    """A line of the table: ``figures`` has, for each benchmark, top-1, 3 and 5 in percent, None where not known."""
    source: str
    method: str
    clip: str
    figures: Figures


def plain(name: str) -> str:
    """A name without what differs from writer to writer: 'Objaverse-LVIS' and 'objaverse_lvis' are one benchmark."""
    return re.sub('[^a-z0-9]', '', name.lower())


def same_clip(one: str, other: str) -> bool:
    """Whether two names are of one CLIP; that it uses QuickGELU is not part of its name in the paper."""
    return plain(one).removesuffix('quickgelu') == plain(other).removesuffix('quickgelu')


def load_published(path: str | Path) -> list[Row]:
    """Read published figures.

    Args:
        path: JSON with ``table1_zero_shot_classification.rows``, each with ``training_source``, ``method``, ``clip``
            and, for each benchmark, [top1, top3, top5]; optionally ``table7_objaverse_lvis.rows`` with ``method`` and
            ``values``, which join the rows of the same method trained on ShapeNet or not trained on shapes.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is no JSON, or has no such table.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f'there are no published figures at {path}')
    try:
        contents = json.loads(path.read_text())
        lvis = {row['method']: row['values'] for row in contents.get(LVIS_TABLE, {}).get('rows', [])}
        rows = []
        for row in contents[TABLE]['rows']:
            figures = {name: value for name, value in row.items() if name not in NOT_BENCHMARKS}
            if row['training_source'] != 'Ensemble' and row['method'] in lvis:
                figures[LVIS] = lvis[row['method']]
            rows.append(Row(row['training_source'], row['method'], row['clip'], figures))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f'{path} is no JSON with {TABLE}.rows of training_source, method, clip and benchmarks: '
                         f'{type(error).__name__} {error}') from error
    return rows


def our_rows(results: Sequence[dict]) -> tuple[list[Row], list[str]]:
    """One row for each model and checkpoint, with all its benchmarks.

    Args:
        results: What :func:`load_results` gave; of two with the same model, checkpoint and benchmark the later counts.

    Returns:
        The rows, and what was left out, a sentence each.
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
            notes.append(f'{result["model"]} was tested more than once on {result["benchmark"]}; the last counts')
        known[result['benchmark']] = [values.get(column) for column in COLUMNS]
    return [Row('ours', f'{model} ({Path(checkpoint).name if checkpoint else "CLIP without alignment"})', clip, values)
            for (model, clip, checkpoint), values in figures.items()], notes


def benchmark_table(ours: Sequence[Row], published: Sequence[Row] = ()) -> str:
    """The table as Markdown; our rows, in bold, follow the published OpenDlign on the same CLIP.

    In brackets is the difference to that row. The benchmarks of the published table come first, in its order;
    Objaverse-LVIS, which is not on it, is shown where we have results on it.

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
    lines, left = ['| ' + ' | '.join(header) + ' |', '|---' * 3 + '|---:' * (len(header) - 3) + '|'], list(ours)
    for row in published:
        lines.append(_line(row, shown))
        followers = [mine for mine in left if plain(row.method).startswith('opendlign') and mine.clip
                     and same_clip(mine.clip, row.clip)]
        lines += [_line(mine, shown, row) for mine in followers]
        left = [mine for mine in left if mine not in followers]
    return '\n'.join(lines + [_line(mine, shown) for mine in left]) + '\n'


def _line(row: Row, shown: Sequence[str], reference: Row | None = None) -> str:
    own, other = ({plain(name): values for name, values in (each.figures if each else {}).items()}
                  for each in (row, reference))
    cells = []
    for key in shown:
        for value, published in zip(own.get(key, [None] * 3), other.get(key, [None] * 3)):
            difference = '' if value is None or published is None else f' ({value - published:+.1f})'
            cells.append('-' if value is None else f'{value:.1f}{difference}')
    if row.source == 'ours':
        cells = [cell if cell == '-' else f'**{cell}**' for cell in cells]
        row = row._replace(method=f'**{row.method}**')
    return '| ' + ' | '.join([row.source, row.method, row.clip, *cells]) + ' |'
