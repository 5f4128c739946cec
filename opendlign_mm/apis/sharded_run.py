"""Run a function over any number of inputs: divided among processes, results as Parquet files, resumed after a kill.

The inputs are cut into shards of consecutive ones, whose size depends on the number of inputs alone. Each process takes
every n-th shard that is missing and writes its rows to ``part-<shard>.parquet`` under a temporary name first. The rows
are therefore the same for any number of processes, however often the run was stopped, and a shard whose input files
have changed is made again. ``pandas.read_parquet(folder)`` and ``pyarrow.parquet.read_table(folder)`` read all rows in
the order of the inputs.
"""
import hashlib
import io
import json
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from mmengine import dist
from tqdm import tqdm

from ..atomic_files import atomic_write
from ..compat import detected_launcher
from ..file_keys import readable_text
from ..processes import join_processes, leave_processes, of_all_processes, on_first_process, only_run, own_share

if TYPE_CHECKING:
    import pyarrow as pa

# Parquet readers ignore files whose names begin with an underscore or a dot.
DESCRIPTION = '_run.json'
_SECONDS_BETWEEN_LOOKS = 1.


@dataclass
class ShardedResult:
    """Outcome of a run over all inputs.

    Attributes:
        folder: Folder of the Parquet files.
        num_inputs: Number of inputs, each of which has a row.
        failed: Inputs without a result, by name, and why.
    """
    folder: Path
    num_inputs: int
    failed: list[tuple[str, str]]


@contextmanager
def joined_processes(launcher: Literal['none', 'pytorch', 'slurm', 'mpi'] | None = None) -> Iterator[torch.device]:
    """Join the processes of a launcher during the block; yield the device of this process.

    Args:
        launcher: The launcher; None detects torchrun and a step of several tasks of Slurm (``srun -n 4 ...``), and is
            otherwise 'none'.
    """
    if launcher is None and detected_launcher() == 'none' and 'SLURM_PROCID' in os.environ and int(
            os.environ.get('SLURM_STEP_NUM_TASKS', 1)) > 1:
        launcher = 'slurm'
    yield join_processes(launcher)
    leave_processes()  # not after an error, since the others may work for hours: they notice that this process is gone


def run_sharded(inputs: Sequence[Any], function: Callable[[list[Any]], list[dict]], folder: str | Path,
                schema: 'pa.Schema', settings: dict, shard_size: int | None = None,
                identify: Callable[[Any], Any] | None = None, title: str = 'inputs', overwrite: bool = False,
                ) -> ShardedResult:
    """Call a function with the inputs of each missing shard, and write its rows.

    Within :func:`joined_processes` all processes call this with the same arguments.

    Args:
        inputs: Paths, addresses, arrays, tensors, or anything that ``identify`` understands.
        function: Takes the inputs of a shard and returns a dict for each: the fields of ``schema``, or ``error`` with
            the reason why the input has none. Its results must not depend on other shards.
        folder: Folder of the results.
        schema: Fields of the function's results. The columns ``index`` (number of the input), ``input`` (its name) and
            ``error`` come before them.
        settings: All that determines the results besides the inputs (model, weights, classes, ...), as JSON values.
        shard_size: Number of inputs in a shard; by default that of the earlier run, or such that there are about 256
            shards of 8 to 512 inputs. Long work on each input wants small shards, since a shard that is interrupted is
            lost.
        identify: Returns for an input a JSON value that changes with its contents; default :func:`identity_of_input`.
        title: Title of the progress bar, which counts the inputs done by all processes.
        overwrite: Whether to remove the results of other settings.

    Raises:
        ValueError: There are no inputs, the folder has results of other settings or something else, or the function
            returns another number of rows.
        RuntimeError: Another run is writing to the folder, or another process has died.
    """
    folder, identify = Path(folder), identify or identity_of_input
    if not len(inputs):
        raise ValueError('there are no inputs')
    on_first_process(lambda: _check_folder(folder))
    with only_run(folder):
        size, missing = on_first_process(
            lambda: _prepare(folder, inputs, identify, dict(settings, columns=str(schema)), shard_size, overwrite))
        with _progress(folder, len(inputs), size, title):
            for shard in own_share(missing):
                numbers = range(shard * size, min((shard + 1) * size, len(inputs)))
                digest = _digest(inputs, numbers, identify)  # before reading: a later change is noticed
                rows = function([inputs[number] for number in numbers])
                if len(rows) != len(numbers):
                    raise ValueError(f'{len(rows)} results for {len(numbers)} inputs')
                _write(_part(folder, shard), [dict(row, index=number, input=name_of_input(inputs[number], number))
                                              for number, row in zip(numbers, rows, strict=True)], schema, digest)
            of_all_processes(None)
        return on_first_process(lambda: _result(folder, len(inputs)))


def read_parts(folder: str | Path, columns: list[str] | None = None) -> Iterator['pa.Table']:
    """Read the results of a run, one shard at a time, in the order of the inputs.

    Args:
        folder: Folder of the results.
        columns: Columns to read; all by default.
    """
    from pyarrow import parquet
    for path in sorted(Path(folder).glob('part-*.parquet')):
        with parquet.ParquetFile(path) as file:
            yield file.read(columns)


def identity_of_input(item: Any) -> Any:
    """Return a JSON value that changes with an input: path, size and time of a file; hash of an array; an address.

    Raises:
        TypeError: The input is something else, whose changes cannot be noticed.
    """
    if isinstance(item, torch.Tensor):
        item = item.detach().cpu().numpy()
    if isinstance(item, np.ndarray):
        return [str(item.dtype), list(item.shape), hashlib.sha256(np.ascontiguousarray(item).tobytes()).hexdigest()]
    if not isinstance(item, str | os.PathLike):
        raise TypeError(f'a run that can be resumed takes paths, addresses, arrays and tensors, got '
                        f'{type(item).__name__}')
    try:
        status = os.stat(item)
    except (OSError, ValueError):  # an address, or a file that is not there yet
        return readable_text(str(item))
    return [readable_text(str(item)), status.st_size, status.st_mtime_ns]


def name_of_input(item: Any, number: int) -> str:
    """Return the name of an input in the results."""
    return readable_text(str(item)) if isinstance(item, str | os.PathLike) else f'input {number}'


def _part(folder: Path, shard: int) -> Path:
    return folder / f'part-{shard:06d}.parquet'


def _check_folder(folder: Path) -> None:
    if folder.exists() and not folder.is_dir():
        raise ValueError(f'{folder} is a file; give a folder for the results')
    if folder.is_dir() and not (folder / DESCRIPTION).exists() and any(
            not path.name.startswith('.') for path in folder.iterdir()):
        raise ValueError(f'{folder} has other files than results of this command; give another folder')


def _prepare(folder: Path, inputs: Sequence[Any], identify: Callable[[Any], Any], settings: dict,
             shard_size: int | None, overwrite: bool) -> tuple[int, list[int]]:
    """Return the size of a shard and the missing shards; remove what is unfinished, outdated or of other settings."""
    path, old = folder / DESCRIPTION, {}
    settings = json.loads(json.dumps(settings))
    if path.exists():
        try:
            old = json.loads(path.read_text())
            changed = [key for key in {**old['settings'], **settings}
                       if old['settings'].get(key) != settings.get(key)]
        except (ValueError, KeyError, TypeError, AttributeError):
            old, changed = {}, ['the description, which is damaged']
        if changed and any(folder.glob('part-*.parquet')) and not overwrite:
            raise ValueError(f'{folder} has results made with other settings ({", ".join(sorted(changed))} differ); '
                             'give another folder, or overwrite them')
        old = {} if changed else old
    size = shard_size or old.get('shard_size') or min(512, max(8, -(-len(inputs) // 256)))
    if size < 1:
        raise ValueError(f'shards need at least one input, got {size}')
    if size != old.get('shard_size'):  # parts of another size hold other inputs
        old = {}
    count, missing = -(-len(inputs) // size), []
    for shard in range(count):
        numbers = range(shard * size, min((shard + 1) * size, len(inputs)))
        if not old or not _is_done(_part(folder, shard), _digest(inputs, numbers, identify), len(numbers)):
            missing.append(shard)
    wanted = {_part(folder, shard) for shard in range(count)} - {_part(folder, shard) for shard in missing}
    for leftover in {*folder.glob('part-*.parquet'), *folder.glob('.*.part*')} - wanted:
        leftover.unlink(missing_ok=True)
    with atomic_write(path) as unfinished:
        unfinished.write_text(json.dumps(dict(settings=settings, shard_size=size), indent=1) + '\n')
    return size, missing


def _digest(inputs: Sequence[Any], numbers: range, identify: Callable[[Any], Any]) -> str:
    return hashlib.sha256(json.dumps([identify(inputs[number]) for number in numbers]).encode()).hexdigest()


def _is_done(path: Path, digest: str, count: int) -> bool:
    from pyarrow import parquet
    if not path.is_file():
        return False
    try:
        metadata = parquet.read_metadata(path)
    except Exception:  # pyarrow raises many types for damaged files
        return False
    return metadata.num_rows == count and (metadata.metadata or {}).get(b'inputs') == digest.encode()


def _write(path: Path, rows: list[dict], schema: 'pa.Schema', digest: str) -> None:
    import pyarrow as pa
    from pyarrow import parquet
    leading = [pa.field('index', pa.int64()), pa.field('input', pa.string()), pa.field('error', pa.string())]
    table = pa.Table.from_pylist(rows, pa.schema([*leading, *schema], metadata=dict(inputs=digest)))
    contents = io.BytesIO()  # pyarrow's own writing raises errors without an errno
    parquet.write_table(table, contents)
    with atomic_write(path) as unfinished:
        unfinished.write_bytes(contents.getvalue())


def _result(folder: Path, num_inputs: int) -> ShardedResult:
    return ShardedResult(folder, num_inputs, [
        (row['input'], row['error']) for part in read_parts(folder, ['input', 'error']) for row in part.to_pylist()
        if row['error'] is not None])


@contextmanager
def _progress(folder: Path, total: int, size: int, title: str) -> Iterator[None]:
    """Show on process 0 how many inputs all processes have done, by the files that have appeared."""
    if dist.get_rank():
        yield
        return

    def look() -> None:
        done = sum(min(size, total - int(path.stem[5:]) * size) for path in folder.glob('part-*.parquet'))
        bar.update(done - bar.n)

    def watch() -> None:
        while not stop.wait(_SECONDS_BETWEEN_LOOKS):
            look()

    stop, several = threading.Event(), f' of {dist.get_world_size()} processes' * (dist.get_world_size() > 1)
    with tqdm(total=total, desc=title + several, unit='input', leave=False) as bar:
        look()
        bar.initial = bar.n  # what earlier runs have done does not count as speed
        watcher = threading.Thread(target=watch, daemon=True)
        watcher.start()
        try:
            yield
        finally:
            stop.set()
            watcher.join()
            look()
