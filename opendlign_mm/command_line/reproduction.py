"""Run the rows of the paper's tables, one command after the other, and compare them with the published figures."""
import csv
import hashlib
import json
import statistics
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..atomic_files import atomic_write
from ..config_options import read_config
from ..evaluation.results import write_csv
from ..json_files import read_json
from .paper_tables import PUBLISHED_KEYS, Row, Run, rows_of

PACKAGED = {'opendlign-tiny': Path(__file__).resolve().parents[1] / 'assets/opendlign_tiny.safetensors'}
PUBLISHED = Path(__file__).resolve().parents[1] / 'assets/published.json'
GET_CHECKPOINT = ('convert a published one with tools/convert_checkpoint.py, download it with `opendlign download`, or '
                  'train it, and put it there')
TEST_METRICS = {'zero_shot/top1': 'top1', 'zero_shot/top3': 'top3', 'zero_shot/top5': 'top5', 'mAP_0.25': 'AP25',
                'mAP_0.50': 'AP50'}


@dataclass(frozen=True)
class Reproduction:
    """Where measurements are made.

    Attributes:
        root: Folder with ``configs`` and ``tools``.
        out: Folder of the results; finished measurements in it are kept.
        checkpoints: Folder of checkpoints.
        data_root: Folder in the place of ``data`` in the configs; None keeps ``data``.
        seeds: Number of draws of few-shot classification; None keeps that of the table.
    """
    root: Path
    out: Path
    checkpoints: Path
    data_root: Path | None = None
    seeds: int | None = None

    def checkpoint_of(self, run: Run) -> Path | None:
        """Return the checkpoint of a run; one that is still to be trained need not exist.

        Raises:
            FileNotFoundError: It is not there; the message says how to get it.
        """
        if run.checkpoint is None:
            return None
        if run.train:
            epochs = read_config(self.root / 'configs' / run.config).train_cfg.max_epochs
            return self.out / 'trained' / run.checkpoint / f'epoch_{epochs}.pth'
        for path in (PACKAGED.get(run.checkpoint), self.checkpoints / f'{run.checkpoint}.pth',
                     self.checkpoints / f'{run.checkpoint}.safetensors'):
            if path is not None and path.is_file():
                return path
        raise FileNotFoundError(f'no {run.checkpoint}.pth in {self.checkpoints}: {GET_CHECKPOINT}')

    def command(self, run: Run, folder: Path) -> list[str]:
        """Return the command of a run that writes to ``folder``."""
        tool = 'test.py' if run.kind == 'test' else 'few_shot.py'
        checkpoint = self.checkpoint_of(run)
        options = [*run.options, *self._data_options(run)]
        seeds = ['--seeds', str(self.seeds)] if run.kind == 'few_shot' and self.seeds else []
        return [str(self.root / 'tools' / tool), str(self.root / 'configs' / run.config),
                *([] if checkpoint is None else [str(checkpoint)]), '--work-dir', str(folder),
                *run.arguments, *seeds, *(['--cfg-options', *options] if options else [])]

    def _data_options(self, run: Run) -> list[str]:
        if run.rooms:
            return [f'data_root={self.out / "rooms"}']
        if self.data_root is None:
            return []
        own = Path(read_config(self.root / 'configs' / run.config).get('data_root') or 'data')
        return [f'data_root={self.data_root / (own.relative_to("data") if own.parts[:1] == ("data", ) else own)}']

    def measure(self, run: Run, folder: Path) -> dict[str, float]:
        """Return the metrics of a run: those of an earlier call with the same command and checkpoint, or new ones.

        Raises:
            FileNotFoundError: A checkpoint is not there.
            RuntimeError: A command failed; the message is its own.
        """
        if run.train:
            self._train(run)
        if run.rooms and not (self.out / 'rooms/scannet_infos_val.pkl').is_file():
            self._call(['tools/make_rooms.py', '--out', str(self.out / 'rooms'), '--num-val', '2'], folder)
        command, record = self.command(run, folder), folder / 'measured.json'
        checkpoint = self.checkpoint_of(run)
        content = '' if checkpoint is None else hashlib.sha256(checkpoint.read_bytes()).hexdigest()
        made_from = dict(command=command[2:], config=run.config, checkpoint=content)
        if record.is_file():
            known = read_json(record)
            if known.get('made_from') == made_from:
                return known['metrics']
        self._call(command, folder)
        metrics = _test_metrics(folder) if run.kind == 'test' else _few_shot_metrics(folder / 'few_shot/few_shot.csv')
        with atomic_write(record) as unfinished:
            unfinished.write_text(json.dumps(dict(made_from=made_from, metrics=metrics), indent=1))
        return metrics

    def _train(self, run: Run) -> None:
        checkpoint = self.checkpoint_of(run)
        assert checkpoint is not None
        if not checkpoint.is_file():
            self._call(['tools/train.py', str(self.root / 'configs' / run.config), '--work-dir', str(checkpoint.parent),
                        '--resume'], checkpoint.parent)

    def _call(self, command: Sequence[str], folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        tool, *arguments = command
        with (folder / 'command.log').open('w') as log:
            done = subprocess.run([sys.executable, str(self.root / tool), *arguments], stdout=log,
                                  stderr=subprocess.STDOUT, check=False)
        if done.returncode:
            text = (folder / 'command.log').read_text(errors='replace')
            message = text.rpartition('error: ')[2].partition('\n(--traceback')[0] if 'error: ' in text else text[-500:]
            raise RuntimeError(' '.join(message.split()) + f' (log: {folder / "command.log"})')


def reproduce_table(table: str, place: Reproduction, built_in: bool = False, methods: Sequence[str] = ()) -> list[dict]:
    """Measure the rows of a table.

    Args:
        table: Number of the table.
        place: Where to measure.
        built_in: Whether to take the demonstration models and built-in data.
        methods: Methods to measure; all by default.

    Returns:
        One dict for each row, column and metric: ``table``, ``method``, ``source``, ``column``, ``metric``,
        ``published``, ``measured``, ``difference``, each a number or None, ``reason`` why nothing was measured, and
        ``command``.

    Raises:
        ValueError: A method is not in the table.
    """
    rows = rows_of(table, built_in)
    known = {row.method for row in rows}
    if set(methods) - known:
        raise ValueError(f'table {table} has no {", ".join(sorted(set(methods) - known))}; its methods are '
                         f'{", ".join(sorted(known))}')
    published = {} if built_in else published_figures(table)
    found = []
    for row in rows:
        if methods and row.method not in methods:
            continue
        for run in row.runs:
            folder = place.out / f'table{table}' / _folder_name(row, run)
            print(f'table {table}, {row.name}, {run.column}', flush=True)
            metrics, reason, command = {}, '', ''
            try:
                command = 'python ' + ' '.join(place.command(run, folder))
                metrics = place.measure(run, folder)
            except (FileNotFoundError, RuntimeError) as error:
                reason = str(error)
                print(f'  skipped: {reason}', flush=True)
            figures = published.get((row.method, row.source, run.column), {})
            for metric in dict.fromkeys([*figures, *metrics]) or ['']:
                ours, theirs = metrics.get(metric), figures.get(metric)
                found.append(dict(table=table, method=row.method, source=row.source, column=run.column, metric=metric,
                                  published=theirs, measured=ours, reason=reason, command=command, note=row.note,
                                  difference=None if ours is None or theirs is None else ours - theirs))
    return found


def published_figures(table: str, path: Path = PUBLISHED) -> dict[tuple[str, str, str], dict[str, float]]:
    """Return (method, training source, column) -> metric -> published figure; figures that are not given are left out.

    Args:
        table: Number of the table.
        path: JSON file of the paper's tables.
    """
    contents: dict[str, Any] = read_json(path)[PUBLISHED_KEYS[table]]
    figures: dict[tuple[str, str, str], dict[str, float]] = {}
    for row in contents['rows']:
        method, source = row['method'], row.get('training_source', '')
        if table in '39':
            column = 'ScanNet' if table == '3' else 'ScanNet-20'
            figures.setdefault((method, source, column), {})[row.get('metric', 'AP25')] = row['values'][0]
            continue
        names = [f'{shots}-shot' for shots in contents['shots']] if table == '2' else contents['columns']
        columns = {'Objaverse-LVIS': row['values']} if table == '7' else {
            name: values for name, values in row.items() if name not in ('method', 'training_source', 'clip')}
        for column, values in columns.items():
            figures[method, source, column] = {name: value for name, value in zip(names, values, strict=True)
                                               if value is not None}
    return figures


def table_text(found: Sequence[dict], built_in: bool) -> str:
    """Return measurements as Markdown."""
    lines = ['A demonstration on small models and procedural data: it shows that the commands work, not how good the '
             'methods are.', ''] if built_in else []
    lines += ['| method | data | metric | published | measured | difference |', '|---|---|---|---|---|---|']
    for row in found:
        name = f'{row["method"]}, {row["source"]}' if row['source'] else row['method']
        numbers = [_shown(row[key], key == 'difference') for key in ('published', 'measured', 'difference')]
        lines.append('| ' + ' | '.join([name, row['column'], row['metric'], *numbers]) + ' |')
    reasons = {row['reason'] for row in found if row['reason']}
    notes = {f'{row["method"]}: {row["note"]}' for row in found if row['note']}
    return '\n'.join([*lines, '', *(f'- {text}' for text in sorted(reasons | notes)), '']).rstrip() + '\n'


def write_tables(found: Sequence[dict], out: Path, name: str, built_in: bool) -> list[Path]:
    """Write measurements as Markdown, CSV and JSON; return the files."""
    paths = [out / f'{name}.{ending}' for ending in ('md', 'csv', 'json')]
    with atomic_write(paths[0]) as unfinished:
        unfinished.write_text(table_text(found, built_in))
    write_csv(paths[1], [list(found[0]), *(list(row.values()) for row in found)] if found else [])
    with atomic_write(paths[2]) as unfinished:
        unfinished.write_text(json.dumps(list(found), indent=1) + '\n')
    return paths


def _shown(value: float | None, signed: bool) -> str:
    return '' if value is None else f'{value:+.1f}' if signed else f'{value:.1f}'


def _folder_name(row: Row, run: Run) -> str:
    plain = ''.join(letter if letter.isalnum() else '_' for letter in f'{row.name} {run.column}').lower()
    return f'{plain}_{hashlib.sha256(json.dumps(asdict(run)).encode()).hexdigest()[:8]}'


def _test_metrics(folder: Path) -> dict[str, float]:
    newest = max(folder.glob('*/results/results.json'), key=lambda path: path.stat().st_mtime_ns)
    metrics = read_json(newest)['metrics']
    # Average precision is a share, accuracies are in percent, as published.
    return {name: metrics[key] * (100 if key.startswith('mAP') else 1) for key, name in TEST_METRICS.items()
            if key in metrics}


def _few_shot_metrics(path: Path) -> dict[str, float]:
    with path.open(newline='') as file:
        rows = [row for row in csv.DictReader(file) if row['shots'] != '0']
    return {f'{shots}-shot': statistics.mean(float(row['top1']) for row in rows if row['shots'] == shots)
            for shots in dict.fromkeys(row['shots'] for row in rows)}
