"""Tables of the paper by one command: every row has a config and a published figure, and what is done is kept."""
import json
import os
from pathlib import Path

import pytest

from helpers.tool_modules import REPOSITORY, load_tool
from opendlign_mm.command_line import reproduction
from opendlign_mm.command_line.paper_tables import TABLES, Row, Run, rows_of
from opendlign_mm.command_line.reproduction import Reproduction, published_figures, reproduce_table, table_text
from opendlign_mm.config_options import read_config


@pytest.mark.parametrize('table', TABLES)
def test_each_row_has_a_config_and_a_published_figure(table):
    figures, rows = published_figures(table), rows_of(table)
    assert rows and len({(row.method, row.source) for row in rows}) == len(rows)
    for row in rows:
        for run in row.runs:
            assert figures[row.method, row.source, run.column], (row, run)
            read_config(REPOSITORY / 'configs' / run.config)
    for row in rows_of(table, built_in=True):
        for run in row.runs:
            read_config(REPOSITORY / 'configs' / run.config,
                        dict(option.split('=', 1) for option in run.options) if 'projection' not in str(run) else None)


def test_all_rows_of_table_1_and_3_are_there():
    # 22 and 6 rows in the paper; each row of table 3 is one metric of one method.
    assert len(rows_of('1')) == 22
    assert sum(len(figures) for figures in published_figures('3').values()) == 6
    assert published_figures('1')['OpenDlign', 'ShapeNet', 'ScanObjectNN'] == dict(top1=59.5, top3=76.8, top5=83.7)
    assert published_figures('2')['OpenDlign', '', 'ModelNet40']['16-shot'] == 87.6
    assert published_figures('9')['OpenDlign', '', 'ScanNet-20'] == dict(AP25=19.27)
    with pytest.raises(ValueError, match='table 6 is unknown'):
        rows_of('6')


@pytest.fixture
def place(tmp_path):
    (tmp_path / 'checkpoints').mkdir()
    return Reproduction(REPOSITORY, tmp_path / 'out', tmp_path / 'checkpoints', tmp_path / 'datasets')


@pytest.fixture
def calls(monkeypatch):
    """Replace the commands by one that writes the results of a test."""
    found = []

    def call(self, command, folder):
        found.append(command)
        results = folder / 'now/results/results.json'
        results.parent.mkdir(parents=True, exist_ok=True)
        results.write_text(json.dumps(dict(metrics={'zero_shot/top1': 60., 'zero_shot/top3': 77., 'mAP_0.25': .5})))
    monkeypatch.setattr(Reproduction, '_call', call)
    return found


def test_finished_rows_are_kept_and_another_checkpoint_is_measured_anew(place, calls):
    checkpoint = place.checkpoints / 'opendlign_h14.pth'
    checkpoint.write_bytes(b'one')
    for expected in (3, 3):
        found = reproduce_table('1', place, methods=['OpenDlign'])
        assert len(calls) == expected
    checkpoint.write_bytes(b'two')
    reproduce_table('1', place, methods=['OpenDlign'])
    assert len(calls) == 6
    row = next(row for row in found if row['column'] == 'ScanObjectNN' and row['metric'] == 'top1')
    assert (row['published'], row['measured'], row['difference']) == (59.5, 60., pytest.approx(.5))
    assert f'data_root={place.data_root}/opendlign' in calls[0]
    assert '| OpenDlign, ShapeNet | ScanObjectNN | top1 | 59.5 | 60.0 | +0.5 |' in table_text(found, False)


def test_average_precision_is_in_percent_as_published(place, calls):
    (place.checkpoints / 'opendlign_h14.pth').write_bytes(b'one')
    found = reproduce_table('3', place, methods=['OpenDlign'])
    assert next(row for row in found if row['metric'] == 'AP25')['difference'] == pytest.approx(50 - 50.72)


def test_what_is_missing_is_skipped_with_the_way_to_get_it(place, calls, capsys):
    found = reproduce_table('7', place)
    assert not calls and all(row['measured'] is None for row in found)
    assert all('no opendlign_' in row['reason'] and 'convert' in row['reason'] for row in found)
    assert 'skipped: no opendlign_h14.pth' in capsys.readouterr().out
    with pytest.raises(ValueError, match='table 7 has no OpenShape'):
        reproduce_table('7', place, methods=['OpenShape'])


def test_a_command_from_its_start_to_the_table(place, tmp_path, monkeypatch, capsys):
    options = ('test_dataloader.dataset.num_per_category=1', 'test_dataloader.dataset.categories=chair,lamp',
               'test_dataloader.num_workers=0')
    rows = [Row('PointCLIP', runs=(Run('complete', 'baselines/pointclip_tiny.py', options=options), )),
            Row('Absent', runs=(Run('complete', 'baselines/pointclip_rn50.py', options=(
                f'data_root={tmp_path}/none', )), ))]
    monkeypatch.setattr(reproduction, 'rows_of', lambda *_: rows)
    tool = load_tool('reproduce')
    monkeypatch.setattr(tool, 'rows_of', lambda *_: rows)
    monkeypatch.setenv('PYTHONPATH', os.pathsep.join([str(REPOSITORY), os.environ.get('PYTHONPATH', '')]))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr('sys.argv', ['reproduce.py', 'table1', '--data', 'built-in', '--out', str(tmp_path / 'out')])
    tool.main()
    text = (tmp_path / 'out/built-in/table1.md').read_text()
    assert 'A demonstration' in text and '| PointCLIP | complete | top5 |  | 100.0 |' in text
    assert 'none does not exist' in text and 'Traceback' not in text
    rows = json.loads((tmp_path / 'out/built-in/table1.json').read_text())
    assert {row['metric'] for row in rows if row['method'] == 'PointCLIP'} == {'top1', 'top3', 'top5'}
    assert Path(tmp_path / 'out/built-in/table1.csv').read_text().startswith('table,method')
