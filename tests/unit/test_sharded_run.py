"""Runs over many inputs: the same rows for any number of processes, resumed after a kill, renewed after a change."""
import json
import os
import signal
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from pyarrow import parquet

from helpers.together import run_together
from opendlign_mm.apis import sharded_run
from opendlign_mm.apis.sharded_run import identity_of_input, joined_processes, run_sharded

SCHEMA = pa.schema([('size', pa.int64()), ('vector', pa.list_(pa.float32()))])


def measure(paths: list) -> list[dict]:
    """Return the size of each file; one of 13 bytes fails."""
    rows = [dict(size=len(Path(path).read_bytes())) for path in paths]
    return [dict(error='13 bytes') if row['size'] == 13 else dict(row, vector=np.arange(2.) + row['size'])
            for row in rows]


@pytest.fixture
def files(tmp_path):
    (tmp_path / 'in').mkdir()
    for number in range(21):
        (tmp_path / f'in/{number:02d}.bin').write_bytes(b'x' * number)
    return sorted(map(str, (tmp_path / 'in').iterdir()))


def run(files, folder, **options):
    return run_sharded(files, options.pop('function', measure), folder, SCHEMA, options.pop('settings', {}),
                       shard_size=options.pop('shard_size', 4), **options)


def contents(folder) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in Path(folder).glob('part-*')}


def of_one_process(rank: int, files: list, folder: str, pause: float = 0, dies: str = '') -> list:
    def function(paths: list) -> list[dict]:
        time.sleep(pause)
        if dies in map(os.path.basename, paths):
            os.kill(os.getpid(), signal.SIGKILL)
        Path(f'{folder}-of-{rank}').open('a').write(f'{len(paths)} ')
        return measure(paths)

    result = run(files, folder, function=function)
    return [result.num_inputs, result.failed]


def test_rows_are_those_of_the_inputs(files, tmp_path):
    result = run(files, tmp_path / 'out')
    assert (result.num_inputs, result.failed) == (21, [(files[13], '13 bytes')])
    rows = parquet.read_table(tmp_path / 'out').to_pylist()
    assert [row['index'] for row in rows] == list(range(21)) and [row['input'] for row in rows] == files
    assert [row['size'] for row in rows] == [None if size == 13 else size for size in range(21)]
    assert rows[5]['vector'] == [5, 6] and rows[13]['error'] == '13 bytes' and rows[12]['error'] is None
    assert len(contents(tmp_path / 'out')) == 6


@pytest.mark.parametrize('count', [2, 3])
def test_several_processes_write_the_same_files(files, tmp_path, count):
    run(files, tmp_path / 'one')
    outcomes = run_together(of_one_process, count, tmp_path, files, str(tmp_path / 'several'))
    assert [outcome.code for outcome in outcomes] == [0] * count, [outcome.error for outcome in outcomes]
    assert all(outcome.result == [21, [[files[13], '13 bytes']]] for outcome in outcomes)
    assert contents(tmp_path / 'several') == contents(tmp_path / 'one')
    shares = [sum(map(int, (tmp_path / f'several-of-{rank}').read_text().split())) for rank in range(count)]
    assert sum(shares) == 21 and min(shares) >= 4


def test_killed_run_goes_on_with_another_number_of_processes(files, tmp_path):
    run(files, tmp_path / 'one')
    outcomes = run_together(of_one_process, 2, tmp_path, files, str(tmp_path / 'out'), 0, '12.bin')
    assert outcomes[1].code == -signal.SIGKILL and 'another process of this run has died' in outcomes[0].error
    done, kept = contents(tmp_path / 'out'), parquet.read_table(tmp_path / 'out').num_rows
    assert 'part-000001.parquet' in done and 'part-000003.parquet' not in done
    (tmp_path / 'out/.part-000003.host-1.part.parquet').write_bytes(b'half')
    for rank in range(2):
        (tmp_path / f'out-of-{rank}').unlink(missing_ok=True)
    assert of_one_process(0, files, str(tmp_path / 'out'))[0] == 21
    assert sum(map(int, (tmp_path / 'out-of-0').read_text().split())) == 21 - kept
    assert contents(tmp_path / 'out') == contents(tmp_path / 'one')
    assert sorted(path.name for path in (tmp_path / 'out').iterdir() if 'part-' not in path.name) == [
        '.lock', '_run.json']


def test_only_what_has_changed_is_made_again(files, tmp_path):
    calls = []

    def function(paths):
        calls.append([os.path.basename(path)[:2] for path in paths])
        return measure(paths)

    run(files, tmp_path / 'out', function=function)
    calls.clear()
    Path(files[13]).write_bytes(b'y' * 50)
    assert not run(files, tmp_path / 'out', function=function).failed and calls == [['12', '13', '14', '15']]
    calls.clear()
    part = tmp_path / 'out/part-000001.parquet'
    part.write_bytes(part.read_bytes()[:-20])
    run(files[:-1], tmp_path / 'out', function=function)
    assert calls == [['04', '05', '06', '07']]
    assert parquet.read_table(tmp_path / 'out').num_rows == 20
    calls.clear()
    run(files, tmp_path / 'out', function=function, shard_size=None)
    assert calls == [['20']], 'the size of the shards stays'


def test_other_settings_are_refused_or_replaced(files, tmp_path):
    run(files, tmp_path / 'out', settings=dict(model='a'))
    with pytest.raises(ValueError, match=r'results made with other settings \(model differ\)'):
        run(files, tmp_path / 'out', settings=dict(model='b'))
    run(files[:3], tmp_path / 'out', settings=dict(model='b'), overwrite=True)
    assert parquet.read_table(tmp_path / 'out').num_rows == 3
    run(files[:3], tmp_path / 'out', settings=dict(model='b'))


def test_wrong_arguments(files, tmp_path):
    with pytest.raises(ValueError, match='there are no inputs'):
        run([], tmp_path / 'out')
    with pytest.raises(ValueError, match='3 results for 4 inputs'):
        run(files, tmp_path / 'out', function=lambda paths: measure(paths)[1:])
    with pytest.raises(ValueError, match='has other files than results of this command'):
        run(files, tmp_path / 'in')
    with pytest.raises(ValueError, match='is a file; give a folder'):
        run(files, files[0])
    with pytest.raises(TypeError, match='takes paths, addresses, arrays and tensors, got object'):
        run([object()], tmp_path / 'out')


def test_inputs_are_told_apart(tmp_path):
    array = np.arange(6.)
    assert identity_of_input(array) == identity_of_input(torch.arange(6.).double())
    assert len({json.dumps(identity_of_input(item)) for item in (
        array, array.reshape(2, 3), array.astype(np.float32), array + 1, 'https://host/a.ply', str(tmp_path))}) == 6


def test_slurm_steps_of_several_tasks_are_noticed(monkeypatch):
    chosen = []
    monkeypatch.setattr(sharded_run, 'join_processes', lambda launcher: chosen.append(launcher))
    monkeypatch.delenv('TORCHELASTIC_RUN_ID', raising=False)
    for variables in ({}, dict(SLURM_PROCID='0', SLURM_STEP_NUM_TASKS='1'), dict(SLURM_STEP_NUM_TASKS='2'),
                      dict(SLURM_PROCID='0', SLURM_STEP_NUM_TASKS='2')):
        with monkeypatch.context() as patch:
            for name, value in variables.items():
                patch.setenv(name, value)
            with joined_processes():
                pass
    assert chosen == [None, None, None, 'slurm']
