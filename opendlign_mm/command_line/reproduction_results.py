"""Results of the rows of the paper's tables: metrics of a command, the published figures, and tables with both."""
import csv
import json
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..atomic_files import atomic_write
from ..evaluation.results import write_csv
from ..source_files import read_json
from ..visualization.plots import draw_line_plots
from .ablation_tables import TUNINGS, parts_name, views_name
from .table_rows import BENCHMARKS, Row, Run, noted

PUBLISHED = Path(__file__).resolve().parents[1] / 'assets/published.json'
PUBLISHED_KEYS = {
    '1': 'table1_zero_shot_classification', '2': 'table2_few_shot_classification',
    '3': 'table3_scannet_zero_shot_detection', '4': 'table4_ablation', '5': 'table5_alignment_strategies',
    '7': 'table7_objaverse_lvis', '9': 'table9_scannet20_ov3det_setting', '10': 'table10_fine_tuning',
    '11': 'table11_views_16shot'}
TEST_METRICS = {'zero_shot/top1': 'top1', 'zero_shot/top3': 'top3', 'zero_shot/top5': 'top5', 'mAP_0.25': 'AP25',
                'mAP_0.50': 'AP50'}
# Tables that are plotted: what stands on the horizontal axis.
PLOTTED = {'2': 'shots per class', '11': 'views'}
DEMONSTRATION = ('A demonstration on small models and procedural data: it shows that the commands work, not how good '
                 'the methods are.')


def test_metrics(folder: Path) -> dict[str, float]:
    """Return the metrics of the last test in a work directory, in percent as published."""
    newest = max(folder.glob('*/results/results.json'), key=lambda path: path.stat().st_mtime_ns)
    metrics = read_json(newest)['metrics']
    # Average precision is a share, accuracies are in percent.
    return {name: metrics[key] * (100 if key.startswith('mAP') else 1) for key, name in TEST_METRICS.items()
            if key in metrics}


def few_shot_metrics(folder: Path) -> dict[str, float]:
    """Return the mean accuracy of each number of shots, in percent, of a work directory of tools/few_shot.py."""
    with (folder / 'few_shot/few_shot.csv').open(newline='') as file:
        rows = [row for row in csv.DictReader(file) if row['shots'] != '0']
    return {f'{shots}-shot': statistics.mean(float(row['top1']) for row in rows if row['shots'] == shots)
            for shots in dict.fromkeys(row['shots'] for row in rows)}


def published_figures(table: str, path: Path = PUBLISHED) -> dict[tuple[str, str, str], dict[str, float]]:
    """Return (method, training source, column) -> metric -> published figure; figures that are not given are left out.

    Args:
        table: Number of the table.
        path: JSON file of the paper's tables.
    """
    contents: dict[str, Any] = read_json(path)[PUBLISHED_KEYS[table]]
    figures: dict[tuple[str, str, str], dict[str, float]] = {}
    if table == '11':
        return {(views_name(count), '', column): {'16-shot': contents[column][index]}
                for index, count in enumerate(contents['views']) for column in BENCHMARKS}
    for row in contents['rows']:
        if table in ('3', '9'):
            column = 'ScanNet' if table == '3' else 'ScanNet-20'
            figures.setdefault((row['method'], '', column), {})[row.get('metric', 'AP25')] = row['values'][0]
            continue
        method = (parts_name(row['on']) if table == '4' else row['strategy'] if table == '5'
                  else TUNINGS[tuple(row['setting'])] if table == '10' else row['method'])
        metrics = ([f'{shots}-shot' for shots in contents['shots']] if table == '2'
                   else contents['columns'] if table in ('1', '5', '7') else ('top1', 'top3', 'top5'))
        columns = {'Objaverse-LVIS': row['values']} if table == '7' else {
            column: row[column] for column in BENCHMARKS if column in row}
        for column, values in columns.items():
            figures[method, row.get('training_source', ''), column] = {
                name: value for name, value in zip(metrics, values, strict=True) if value is not None}
    return figures


def figures_of(published: dict, row: Row, run: Run) -> dict[str, float]:
    """Return metric -> published figure of a run; the readings of a row share its figures."""
    return published.get((row.method, row.source, run.column), published.get((row.method, '', run.column), {}))


def entries_of(table: str, measured: Sequence[tuple[Row, Run, dict]], built_in: bool) -> list[dict]:
    """Return one dict for each row, column and metric of what :func:`reproduce` found.

    Its keys are ``table``, ``method``, ``source``, ``column``, ``metric``, ``published``, ``measured``, ``difference``,
    each a number or None, ``state``, ``reason``, ``note``, ``command``, and ``run``, the key of the run.
    """
    published = {} if built_in else published_figures(table)
    entries = []
    for row, run, found in measured:
        figures, metrics = figures_of(published, row, run), found['metrics']
        for metric in dict.fromkeys([*figures, *metrics]) or ['']:
            ours, theirs = metrics.get(metric), figures.get(metric)
            entries.append(dict(
                table=table, method=row.method, source=row.source, column=run.column, metric=metric, published=theirs,
                measured=ours, difference=None if ours is None or theirs is None else ours - theirs,
                state=found['state'], reason=found['reason'], note=row.note, command=found['command'], run=run.key))
    return entries


def table_text(entries: Sequence[dict], built_in: bool) -> str:
    """Return measurements as Markdown."""
    lines = [DEMONSTRATION, ''] if built_in else []
    lines += ['| method | data | metric | published | measured | difference |', '|---|---|---|---|---|---|']
    for entry in entries:
        numbers = [_shown(entry[key], key == 'difference') for key in ('published', 'measured', 'difference')]
        lines.append('| ' + ' | '.join([_name(entry), entry['column'], entry['metric'], *numbers]) + ' |')
    reasons = dict.fromkeys(f'- {entry["reason"]}' for entry in entries if entry['reason'])
    notes = noted((_name(entry), entry['note']) for entry in entries)
    return '\n'.join([*lines, '', *reasons, *notes]).rstrip() + '\n'


def with_earlier_entries(entries: Sequence[dict], rows: Sequence[Row], path: Path) -> list[dict]:
    """Return entries together with those of an earlier call for other rows of the table, in the order of the table.

    Args:
        entries: Entries of the rows that were chosen now.
        rows: All rows of the table.
        path: JSON file that :func:`write_tables` wrote; it may be missing.
    """
    new = {entry['run'] for entry in entries}
    earlier = [entry for entry in (read_json(path) if path.is_file() else []) if entry['run'] not in new]
    order = {run.key: position for position, run in enumerate(run for row in rows for run in row.runs)}
    return sorted((entry for entry in [*entries, *earlier] if entry['run'] in order), key=lambda e: order[e['run']])


def write_tables(entries: Sequence[dict], out: Path, table: str, built_in: bool) -> list[Path]:
    """Write measurements as Markdown, CSV and JSON, and for tables 2 and 11 as a plot; return the files."""
    paths = [out / f'table{table}.{ending}' for ending in ('md', 'csv', 'json')]
    with atomic_write(paths[0]) as unfinished:
        unfinished.write_text(table_text(entries, built_in))
    write_csv(paths[1], [list(entries[0]), *(list(entry.values()) for entry in entries)] if entries else [])
    with atomic_write(paths[2]) as unfinished:
        unfinished.write_text(json.dumps(list(entries), indent=1) + '\n')
    panels = plotted_lines(table, entries) if table in PLOTTED else {}
    if panels:
        paths.append(draw_line_plots(panels, out / f'table{table}.png', PLOTTED[table], 'top-1 accuracy in %'))
    return paths


def plotted_lines(table: str, entries: Sequence[dict]) -> dict[str, dict[str, dict[int, float]]]:
    """Return column -> label of a line -> position -> accuracy, measured and published, of table 2 or 11."""
    panels: dict[str, dict[str, dict[int, float]]] = {}
    for entry in entries:
        for kind in ('measured', 'published'):
            if entry[kind] is not None:
                method, label = ('', kind) if table == '11' else (entry['method'], f'{entry["method"]}, {kind}')
                position = int((entry['metric'].partition('-') if method else entry['method'].partition(' '))[0])
                panels.setdefault(entry['column'], {}).setdefault(label, {})[position] = entry[kind]
    return panels


def _name(entry: dict) -> str:
    return f'{entry["method"]}, {entry["source"]}' if entry['source'] else entry['method']


def _shown(value: float | None, signed: bool) -> str:
    return '' if value is None else f'{value:+.1f}' if signed else f'{value:.1f}'
