"""Run the rows of the paper's tables: commands with their data and checkpoints, and what was measured before."""
import hashlib
import json
import os
import subprocess
import sys
import threading
from collections import defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mmengine.config import Config

from ..apis.model_entry import read_index
from ..atomic_files import atomic_write
from ..config_options import read_config
from ..json_files import read_json
from .input_sources import checkpoint_source, data_source, prompt_options, prompts_file
from .options import parsed_options
from .reproduction_results import few_shot_metrics, test_metrics
from .table_rows import Row, Run, Training

PACKAGED = {'opendlign-tiny': Path(__file__).resolve().parents[1] / 'assets/opendlign_tiny.safetensors'}
# Parts of a config with the inputs of a test and of a training.
TEST_PARTS, TRAINING_PARTS = ('model', 'test_dataloader'), ('model', 'train_dataloader', 'val_dataloader')
TOOLS = {'test': 'test.py', 'few_shot': 'few_shot.py'}


@dataclass(frozen=True)
class Reproduction:
    """Where and how measurements are made.

    Attributes:
        root: Folder with ``configs`` and ``tools``.
        out: Folder of the results; finished measurements in it are kept.
        checkpoints: Folder of checkpoints.
        data_root: Folder in the place of ``data`` in the configs.
        seeds: Number of draws of few-shot classification; None keeps that of the row.
        templates: The authors' file of templates; None looks for it in ``data_root``.
        jobs: Number of commands that run at a time.
    """
    root: Path
    out: Path
    checkpoints: Path
    data_root: Path = Path('data')
    seeds: int | None = None
    templates: Path | None = None
    jobs: int = 1
    _locks: dict[Any, threading.Lock] = field(default_factory=lambda: defaultdict(threading.Lock), repr=False)
    _running: set[subprocess.Popen] = field(default_factory=set, repr=False)
    _stopped: threading.Event = field(default_factory=threading.Event, repr=False)

    def folder(self, run: Run) -> Path:
        """Return the folder of a run, the same for equal runs of several tables."""
        name = f'{Path(run.config).stem} {run.column}'
        return self.out / 'runs' / f'{"".join(c if c.isalnum() else "_" for c in name).lower()}_{run.key}'

    def command(self, run: Run) -> list[str]:
        """Return the command of a run: tool, config, checkpoint and options.

        Raises:
            FileNotFoundError: A checkpoint, or data that the config names, is not there; the message says how to get
                it.
        """
        options = [*run.options, *self._inputs(self._config(run.config, run.options), TEST_PARTS, run.rooms)]
        if run.authors_prompts:
            options += prompt_options(self.templates, self.data_root, run.column)
        checkpoint = self._checkpoint_of(run)
        if isinstance(run.checkpoint, Training) and not self._trained(run.checkpoint).is_file():
            self._training_options(run.checkpoint)
        seeds = ['--seeds', str(self.seeds)] if run.kind == 'few_shot' and self.seeds else []
        return [str(self.root / 'tools' / TOOLS[run.kind]), str(self.root / 'configs' / run.config),
                *([] if checkpoint is None else [str(checkpoint)]), '--work-dir', str(self.folder(run)),
                *run.arguments, *seeds, *(['--cfg-options', *options] if options else [])]

    def measure(self, run: Run) -> dict[str, float]:
        """Return the metrics of a run: those of an earlier call with equal command, config and checkpoint, or new ones.

        Raises:
            FileNotFoundError: A checkpoint or data is not there.
            RuntimeError: A command failed; the message is its own.
        """
        command, folder = self.command(run), self.folder(run)
        if isinstance(run.checkpoint, Training):
            self._train(run.checkpoint)
        if run.rooms:
            with self._locks['rooms']:
                if not (self.out / 'rooms/scannet_infos_val.pkl').is_file():
                    self._call([str(self.root / 'tools/make_rooms.py'), '--out', str(self.out / 'rooms'), '--num-val',
                                '2'], self.out / 'rooms')
        checkpoint = self._checkpoint_of(run)
        made_from = dict(command=command[1:], config=_content(self._config(run.config, run.options)),
                         checkpoint='' if checkpoint is None else _file_hash(checkpoint))
        prompts = prompts_file(self.templates, self.data_root) if run.authors_prompts else None
        if prompts is not None:
            made_from['prompts'] = _file_hash(prompts)
        record = folder / 'measured.json'
        with self._locks[run.key]:
            known = read_json(record) if record.is_file() else {}
            if known.get('made_from') == made_from:
                return known['metrics']
            self._call(command, folder)
            metrics = test_metrics(folder) if run.kind == 'test' else few_shot_metrics(folder)
            with atomic_write(record) as unfinished:
                unfinished.write_text(json.dumps(dict(made_from=made_from, metrics=metrics), indent=1))
        return metrics

    def stop(self) -> None:
        """End the commands that run and start no others."""
        self._stopped.set()
        for process in list(self._running):
            process.terminate()

    # --- inputs ---

    def _config(self, config: str, options: Sequence[str]) -> Config:
        return read_config(self.root / 'configs' / config, parsed_options(options))

    def _checkpoint_of(self, run: Run) -> Path | None:
        """Return the checkpoint of a run; one that is still to be trained need not exist."""
        if run.checkpoint is None:
            return None
        if isinstance(run.checkpoint, Training):
            return self._trained(run.checkpoint)
        return self._published(run.checkpoint)

    def _published(self, name: str) -> Path:
        downloaded = next((entry.checkpoint for entry in read_index() if entry.name == name.replace('_', '-')), None)
        for path in (PACKAGED.get(name), self.checkpoints / f'{name}.pth', self.checkpoints / f'{name}.safetensors',
                     downloaded):
            if path is not None and path.is_file():
                return path
        raise FileNotFoundError(f'no {name}.pth in {self.checkpoints}: {checkpoint_source(name)}')

    def _trained(self, training: Training) -> Path:
        """Return the checkpoint of a training, which need not exist; another config has another folder."""
        cfg = self._config(training.config, training.options)
        about = hashlib.sha256(f'{_content(cfg)}{self.data_root.resolve()}'.encode()).hexdigest()[:10]
        name = f'{Path(training.config).stem}_{about}'
        return self.out / 'trained' / name / f'epoch_{cfg.train_cfg.max_epochs}.pth'

    def _inputs(self, cfg: Config, parts: Sequence[str], rooms: bool = False) -> list[str]:
        """Return the options that lead the paths below data/ and checkpoints/ to the folders that were given.

        Raises:
            FileNotFoundError: A path does not exist.
        """
        options = []
        for name, value in (leaf for part in parts for leaf in _leaves(cfg.get(part), part)):
            first, *rest = Path(value).parts or ('', )
            if first == 'data' and rest:
                made = rooms and rest[0] == 'rooms'
                path = self.out.joinpath(*rest) if made else self.data_root.joinpath(*rest)
                if not made and not path.exists():
                    raise FileNotFoundError(f'{path} does not exist: {data_source(rest[0])}')
            elif first == 'checkpoints' and len(rest) == 1:
                path = self._published(Path(value).stem)
            else:
                continue
            options += [f'{name}={path}'] * (str(path) != value)
        return options

    def _training_options(self, training: Training) -> list[str]:
        cfg = self._config(training.config, training.options)
        return [*training.options, *self._inputs(cfg, TRAINING_PARTS)]

    # --- commands ---

    def _train(self, training: Training) -> None:
        checkpoint = self._trained(training)
        with self._locks[checkpoint]:
            if checkpoint.is_file():
                return
            options = self._training_options(training)
            self._call([str(self.root / 'tools/train.py'), str(self.root / 'configs' / training.config), '--work-dir',
                        str(checkpoint.parent), '--resume', *(['--cfg-options', *options] if options else [])],
                       checkpoint.parent)

    def _call(self, command: Sequence[str], folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        threads = {} if self.jobs == 1 else dict(OMP_NUM_THREADS=str(max(1, (os.cpu_count() or 1) // self.jobs)))
        if self._stopped.is_set():
            raise RuntimeError('stopped')
        with (folder / 'command.log').open('w') as log:
            process = subprocess.Popen([sys.executable, *command], stdout=log, stderr=subprocess.STDOUT,
                                       env={**threads, **os.environ})
            self._running.add(process)
            try:
                code = process.wait()
            finally:
                process.kill()
                self._running.discard(process)
        if code:
            text = (folder / 'command.log').read_text(errors='replace')
            message = text.rpartition('error: ')[2].partition('\n(--traceback')[0] if 'error: ' in text else text[-500:]
            if code < 0:
                message = f'the command was ended by signal {-code}'
            raise RuntimeError(' '.join(message.split()) + f' (log: {folder / "command.log"})')


def reproduce(rows: Sequence[Row], place: Reproduction, title: str = '', say: Callable[[str], None] = print
              ) -> list[tuple[Row, Run, dict]]:
    """Measure rows, ``place.jobs`` commands at a time.

    Args:
        rows: Rows of a table.
        place: Where to measure.
        title: Name of the table, for the lines about the progress.
        say: Function that prints a line.

    Returns:
        Row, run, and a dict with ``metrics`` (name -> value), ``command``, ``state``: 'measured', 'missing' (an input
        is) or 'failed', and ``reason`` for the latter two; for each run in the order of the rows.
    """
    runs = [(row, run) for row in rows for run in row.runs]

    def one(number: int, row: Row, run: Run) -> dict:
        name = f'{title}, {row.name}, {run.column} ({number} of {len(runs)})'
        say(name)
        found: dict[str, Any] = dict(metrics={}, command='', state='measured', reason='')
        try:
            found['command'] = 'python ' + ' '.join(place.command(run))
            found['metrics'] = place.measure(run)
        except FileNotFoundError as error:
            found.update(state='missing', reason=str(error))
        except (RuntimeError, ValueError) as error:
            found.update(state='failed', reason=str(error))
        if found['reason']:
            say(f'  {name}: {"skipped" if found["state"] == "missing" else "failed"}: {found["reason"]}')
        return found

    with ThreadPoolExecutor(place.jobs) as pool:
        futures = [pool.submit(one, number, row, run) for number, (row, run) in enumerate(runs, 1)]
        try:
            return [(row, run, future.result()) for (row, run), future in zip(runs, futures, strict=True)]
        except BaseException:
            for future in futures:
                future.cancel()
            place.stop()
            raise


def missing_inputs(run: Run, place: Reproduction) -> str:
    """Return why a run cannot be measured, or '' if all of its inputs are there."""
    try:
        place.command(run)
    except (FileNotFoundError, ValueError) as error:
        return str(error)
    return ''


def _leaves(node: Any, name: str) -> list[tuple[str, str]]:
    """Return (dotted name, value) of all strings in a part of a config."""
    if isinstance(node, str):
        return [(name, node)]
    items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, (list, tuple)) else ()
    return [leaf for key, item in items for leaf in _leaves(item, f'{name}.{key}')]


def _content(cfg: Config) -> str:
    return hashlib.sha256(json.dumps(cfg.to_dict(), sort_keys=True, default=repr).encode()).hexdigest()


def _file_hash(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open('rb') as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
