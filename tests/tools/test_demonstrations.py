"""Every row of the demonstration of the paper's tables, on fewer objects and points, inside the tests' process."""
from pathlib import Path

import pytest

from helpers.tool_modules import REPOSITORY, run_tool
from opendlign_mm.command_line import built_in_tables
from opendlign_mm.command_line.reproduction import Reproduction, reproduce
from opendlign_mm.command_line.reproduction_results import entries_of
from opendlign_mm.command_line.table_rows import TABLES

TEST = ('test_dataloader.batch_size=8', 'test_dataloader.num_workers=0')
TRAIN = ('train_dataloader.batch_size=8', 'train_dataloader.num_workers=0', 'train_dataloader.dataset.num_points=500')
METRICS = {'2': {'1-shot', '2-shot', '4-shot', '8-shot', '16-shot'}, '3': {'AP25', 'AP50'}, '9': {'AP25', 'AP50'},
           '11': {'16-shot'}}


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp('demonstrations')


@pytest.fixture
def tools_in_this_process(monkeypatch, folder):
    """Run the commands here, without the seconds that each process takes to start."""
    count = iter(range(1000))

    def call(self, command, work_dir):
        tool, *arguments = command
        tool = Path(tool).stem
        if tool == 'make_rooms':
            arguments = [*arguments[:-1], '1', '--num-points', '4000']
        elif tool == 'few_shot':
            arguments = ['--num-workers', '0', *arguments]
        elif tool in ('train', 'test'):
            # Two runs within a second would share a name, and with it a logger.
            options = [*TEST, f'experiment_name={work_dir.name}{next(count)}']
            arguments += options if '--cfg-options' in arguments else ['--cfg-options', *options]
        finished = run_tool(tool, *arguments, cwd=folder)
        if finished.returncode:
            raise RuntimeError(finished.stderr)
    monkeypatch.setattr(Reproduction, '_call', call)
    monkeypatch.setattr(built_in_tables, 'OBJECTS', (
        'test_dataloader.dataset.num_per_category=1', 'test_dataloader.dataset.num_points=500'))
    monkeypatch.setattr(built_in_tables, 'FEW_OBJECTS', ('train_dataloader.dataset.num_per_category=2', *TRAIN))
    for name in ('FEW_EPOCHS', 'MORE_EPOCHS'):
        monkeypatch.setattr(built_in_tables, name, ('train_cfg.max_epochs=1', ))
    monkeypatch.setattr(built_in_tables, 'FEW_SHOT_SCANS', (built_in_tables.SCAN_LIKE, *TRAIN[2:],
                                                            'train_dataloader.dataset.num_per_category=2'))


@pytest.mark.slow
@pytest.mark.parametrize('table', TABLES)
def test_each_row_of_the_demonstration_is_measured(table, tools_in_this_process, folder):
    place = Reproduction(REPOSITORY, folder / 'out', folder / 'none', seeds=1)
    entries = entries_of(table, reproduce(built_in_tables.demonstration_of(table), place), True)
    assert not [entry['reason'] for entry in entries if entry['state'] != 'measured']
    assert {entry['metric'] for entry in entries} == METRICS.get(table, {'top1', 'top3', 'top5'})
    assert all(0 <= entry['measured'] <= 100 for entry in entries)
