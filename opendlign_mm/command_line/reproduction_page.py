"""The page of all rows of the paper's tables: command, data, the paper's figure and ours."""
import json
from collections.abc import Sequence
from pathlib import Path

from ..atomic_files import atomic_write
from ..source_files import read_json
from .built_in_tables import demonstration_of
from .paper_tables import rows_of
from .reproduction_results import DEMONSTRATION, figures_of, published_figures
from .table_rows import TABLES, Row, noted

INTRODUCTION = """# The tables of the paper, row by row

The page is the result of `python tools/reproduce.py --page configs/benchmarks/tables.md`, which takes the figures of
`tables.json` beside it and of the last runs. Commands run in the root of the repository, with `--data-root` and
`--checkpoints` where the data and weights are elsewhere. Figures are top-1 accuracies in percent, of detection AP25, of
table 2 with 1 / 2 / 4 / 8 / 16 shots; the tables that the commands write have the others.
"""


def write_page(path: Path, results: Path) -> list[Path]:
    """Write the page, and beside it as JSON the figures in it.

    Args:
        path: Markdown file to write. The JSON beside it gives the figures of runs that ``results`` does not have.
        results: Output folder of tools/reproduce.py.

    Returns:
        Paths of both.
    """
    kept = path.with_suffix('.json')
    figures = read_json(kept) if kept.is_file() else {}
    for kind in ('paper', 'built-in'):
        for file in sorted((results / kind).glob('table*.json')):
            for entry in read_json(file):
                if entry['measured'] is not None:
                    figures.setdefault(entry['run'], {})[entry['metric']] = round(entry['measured'], 2)
    current = [run.key for table in TABLES for rows in (rows_of(table), demonstration_of(table)) for row in rows
               for run in row.runs]
    figures = {key: figures[key] for key in dict.fromkeys(current) if key in figures}
    with atomic_write(kept) as unfinished:
        unfinished.write_text(json.dumps(figures, indent=1) + '\n')
    with atomic_write(path) as unfinished:
        unfinished.write_text(page_text(figures))
    return [path, kept]


def page_text(figures: dict[str, dict[str, float]]) -> str:
    """Return the page.

    Args:
        figures: Key of a run -> metric -> what was measured. Rows without figures have an empty cell.
    """
    lines = [INTRODUCTION]
    for table, title in TABLES.items():
        published = published_figures(table)
        rows, shown = rows_of(table), demonstration_of(table)
        lines += [f'## Table {table}: {title}', '', '| row | command | measured on | paper | ours |',
                  '|---|---|---|---|---|']
        for row in rows:
            paper = [_figure(figures_of(published, row, run), table) for run in row.runs]
            lines.append(_line(row, f'`python tools/reproduce.py {table} --rows "{row.name}"`', table, paper, figures))
        lines += ['', *noted((row.name, row.note) for row in rows), '']
        lines += [f'Demonstration, `python tools/reproduce.py {table} --data built-in`:', '',
                  '| row | measured on | ours |', '|---|---|---|']
        for row in shown:
            lines.append(_line(row, '', table, [], figures))
        lines += ['', *noted((row.name, row.note) for row in shown), '']
    lines += [DEMONSTRATION]
    text = '\n'.join(lines)
    while '\n\n\n' in text:
        text = text.replace('\n\n\n', '\n\n')
    return text.rstrip() + '\n'


def _line(row: Row, command: str, table: str, paper: Sequence[str], figures: dict[str, dict[str, float]]) -> str:
    ours = [_figure(figures.get(run.key, {}), table) for run in row.runs]
    cells = [row.name, *[command] * bool(command), ', '.join(run.column for run in row.runs),
             *[_joined(paper)] * bool(command), _joined(ours)]
    return ('| ' + ' | '.join(cells) + ' |').replace('|  |', '| |')


def _joined(cells: Sequence[str]) -> str:
    """Return the figures of the columns of a row, with a dash for those that are not known, '' if none is."""
    return ', '.join(cell or '-' for cell in cells) if any(cells) else ''


def _figure(metrics: dict[str, float], table: str) -> str:
    """Return the figures of a run that the page shows, by the kind of the table."""
    if table == '2':
        return ' / '.join(f'{metrics[name]:.1f}' for name in metrics)
    name = next((name for name in ('top1', 'AP25', '16-shot') if name in metrics), None)
    return '' if name is None else f'{metrics[name]:.1f}'
