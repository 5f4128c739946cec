"""Run the rows of the paper's tables: one command after the other, what was measured before is kept."""
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

from ..atomic_files import atomic_write
from ..source_files import read_json
from .reproduction_results import few_shot_metrics, test_metrics
from .run_inputs import RunInputs
from .table_rows import Row, Run, Training


@dataclass(frozen=True)
class Reproduction(RunInputs):
    """Where and how measurements are made.

    Attributes:
        jobs: Number of commands that run at a time; the others are those of :class:`RunInputs`.
    """
    jobs: int = 1
    _locks: dict[Any, threading.Lock] = field(
        default_factory=lambda: defaultdict(threading.Lock), init=False, repr=False)
    _running: set[subprocess.Popen] = field(default_factory=set, init=False, repr=False)
    _stopped: threading.Event = field(default_factory=threading.Event, init=False, repr=False)

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
            self._make_rooms()
        made_from, record = self.made_from(run), folder / 'measured.json'
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

    def _make_rooms(self) -> None:
        rooms = self.out / 'rooms'
        with self._locks['rooms']:
            if not (rooms / 'scannet_infos_val.pkl').is_file():
                self._call([str(self.root / 'tools/make_rooms.py'), '--out', str(rooms), '--num-val', '2'], rooms)

    def _train(self, training: Training) -> None:
        checkpoint = self.trained(training)
        with self._locks[checkpoint]:
            if checkpoint.is_file():
                return
            if training.clip is not None:
                self._write_clip(training.clip, training.clip_file)
            options = self.training_options(training)
            self._call([str(self.root / 'tools/train.py'), str(self.root / 'configs' / training.config), '--work-dir',
                        str(checkpoint.parent), '--resume', *(['--cfg-options', *options] if options else [])],
                       checkpoint.parent)

    def _write_clip(self, training: Training, name: str) -> None:
        """Train, and write the CLIP whose last blocks are the tuned ones."""
        self._train(training)
        checkpoint = self.trained(training)
        if not checkpoint.with_name(name).is_file():
            self._call([str(self.root / 'tools/convert_checkpoint.py'), 'opendlign', str(checkpoint),
                        str(checkpoint.with_name(name)), '--config', str(self.root / 'configs' / training.config),
                        '--to-clip', *(['--cfg-options', *training.options] if training.options else [])],
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
