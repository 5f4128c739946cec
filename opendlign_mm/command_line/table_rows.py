"""What a row of a table is made of: runs of this project's commands, with config, options and checkpoint of each."""
import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Literal

TABLES = {
    '1': 'zero-shot classification', '2': 'few-shot classification', '3': 'zero-shot detection, ScanNet, 18 classes',
    '4': 'ablation of the parts', '5': 'alignment strategies', '7': 'zero-shot classification, Objaverse-LVIS',
    '9': "zero-shot detection, ScanNet, OV-3DET's 20 classes", '10': 'ablation of fine-tuning',
    '11': 'number of views, 16 shots'}
# Benchmark of single objects -> its name in names of configs.
BENCHMARKS = {'ModelNet40': 'modelnet40', 'ScanObjectNN': 'scanobjectnn', 'OmniObject3D': 'omniobject3d'}
# Settings of tools/few_shot.py that give the training objects.
SHOTS = {'ModelNet40': ('--train', 'ann_file=modelnet40_train.txt'), 'OmniObject3D': ('--holdout', ),
         'ScanObjectNN': ('--train', 'ann_file=h5_files/main_split_nobg/training_objectdataset.h5')}


@dataclass(frozen=True)
class Training:
    """Training of a checkpoint that a run tests.

    Attributes:
        config: Path below ``configs``.
        options: Changes to the config as ``key=value``.
        clip: Training that comes first and whose tuned image encoder is the CLIP of this one and of its tests.
        clip_file: Name of the file of that CLIP: .pt as open_clip's, .safetensors for the CLIP of this package.
    """
    config: str
    options: tuple[str, ...] = ()
    clip: 'Training | None' = None
    clip_file: str = 'clip.pt'


@dataclass(frozen=True)
class Run:
    """One measurement: a test, or a few-shot classification, of one config.

    Attributes:
        column: Name of the benchmark.
        config: Path below ``configs``.
        checkpoint: Name of the checkpoint without its ending, or how it is trained first; None where the config needs
            none.
        options: Changes to the config as ``key=value``.
        kind: ``'test'``, or ``'few_shot'``.
        arguments: Further arguments of the tool.
        authors_prompts: Whether the prompts are the authors' where their file is at hand.
        rooms: Whether procedural rooms are made first.
    """
    column: str
    config: str
    checkpoint: str | Training | None = None
    options: tuple[str, ...] = ()
    kind: Literal['test', 'few_shot'] = 'test'
    arguments: tuple[str, ...] = ()
    authors_prompts: bool = False
    rooms: bool = False

    @property
    def key(self) -> str:
        """Name that is the same for equal runs, whichever table they are in, and differs for others."""
        return hashlib.sha256(json.dumps(asdict(self)).encode()).hexdigest()[:10]


@dataclass(frozen=True)
class Row:
    """One row of a table.

    Attributes:
        method: Name of the method, as published.
        source: Training source, as published, or the reading of a row that the paper leaves open; '' for neither.
        runs: Its measurements.
        note: What a reader must know of it.
    """
    method: str
    source: str = ''
    runs: tuple[Run, ...] = field(default=())
    note: str = ''

    @property
    def name(self) -> str:
        """Name that tells the rows of a table apart."""
        return f'{self.method}, {self.source}' if self.source else self.method


def checked_table(table: str) -> str:
    """Return ``table``, a key of ``TABLES``.

    Raises:
        ValueError: It is not one.
    """
    if table not in TABLES:
        raise ValueError(f'table {table} is unknown; the tables are {", ".join(TABLES)}')
    return table


def chosen_rows(tables: Mapping[str, Sequence[Row]], names: Sequence[str]) -> dict[str, list[Row]]:
    """Return the rows with the given names of each table that has one, or all if no names are given.

    Args:
        tables: Number of a table -> its rows.
        names: Methods, each of which stands for all of its rows, or full names of rows.

    Raises:
        ValueError: No table has a row of that name.
    """
    known = {name for rows in tables.values() for row in rows for name in (row.method, row.name)}
    if set(names) - known:
        rows = dict.fromkeys(row.name for rows in tables.values() for row in rows)
        raise ValueError(f'no row {"; ".join(sorted(set(names) - known))} in table {", ".join(tables)}. The rows are '
                         f'{"; ".join(rows)}')
    chosen = {table: [row for row in rows if not names or row.method in names or row.name in names]
              for table, rows in tables.items()}
    return {table: rows for table, rows in chosen.items() if rows}


def noted(notes: Iterable[tuple[str, str]]) -> list[str]:
    """Return one line of Markdown for each note, with the names of all rows that it is for.

    Args:
        notes: (name of a row, note); rows without a note are left out.
    """
    names: dict[str, list[str]] = {}
    for name, note in notes:
        if note and name not in names.setdefault(note, []):
            names[note].append(name)
    return [f'- {"; ".join(owners)}: {note}.' for note, owners in names.items()]
