"""Tables of the paper by one command: what is done is kept, what is missing is named, and a killed run goes on."""
import json
import multiprocessing
import os
import signal
import time
from dataclasses import replace
from pathlib import Path

import pytest

from helpers.tool_modules import REPOSITORY, load_tool
from opendlign_mm.command_line.built_in_tables import demonstration_of
from opendlign_mm.command_line.reproduction import Reproduction, reproduce
from opendlign_mm.command_line.reproduction_results import (
    entries_of,
    plotted_lines,
    table_text,
    with_earlier_entries,
    write_tables,
)
from opendlign_mm.command_line.table_rows import Row, Run, Training

H14 = Run('ModelNet40', 'benchmarks/opendlign_h14_modelnet40.py', 'opendlign_h14', authors_prompts=True)
METRICS = {'zero_shot/top1': 60., 'zero_shot/top3': 77., 'mAP_0.25': .5}


@pytest.fixture
def place(tmp_path):
    for folder in ('checkpoints', 'datasets/opendlign'):
        (tmp_path / folder).mkdir(parents=True)
    return Reproduction(REPOSITORY, tmp_path / 'out', tmp_path / 'checkpoints', tmp_path / 'datasets')


@pytest.fixture
def calls(monkeypatch):
    """Replace the commands by one that writes the results of a test, or the checkpoint of a training."""
    found = []

    def call(self, command, folder):
        found.append(command)
        folder.mkdir(parents=True, exist_ok=True)
        if 'train.py' in command[0]:
            time.sleep(.05)
            return (folder / 'epoch_10.pth').write_bytes(str(command[5:]).encode())
        if 'convert_checkpoint.py' in command[0]:
            return Path(command[3]).touch()
        results = folder / 'now/results/results.json'
        results.parent.mkdir(parents=True, exist_ok=True)
        return results.write_text(json.dumps(dict(metrics=METRICS)))
    monkeypatch.setattr(Reproduction, '_call', call)
    return found


def test_finished_runs_are_kept_and_another_checkpoint_or_prompt_is_measured_anew(place, calls):
    checkpoint = place.checkpoints / 'opendlign_h14.pth'
    checkpoint.write_bytes(b'one')
    rows = [Row('OpenDlign', 'ShapeNet', (H14, ))]
    for _ in range(2):
        found = reproduce(rows, place)
        assert len(calls) == 1
    checkpoint.write_bytes(b'two')
    reproduce(rows, place)
    assert len(calls) == 2
    (place.data_root / 'opendlign/templates.json').write_text(json.dumps({'modelnet40': ['a {} on a {} map']}))
    for count in (3, 3):
        reproduce(rows, place)
        assert len(calls) == count
    (place.data_root / 'opendlign/templates.json').write_text(json.dumps({'modelnet40': ['one {} of a {}']}))
    reproduce(rows, place)
    assert len(calls) == 4
    entries = entries_of('1', found, False)
    entry = next(entry for entry in entries if entry['metric'] == 'top1')
    assert (entry['published'], entry['measured'], entry['difference']) == (82.6, 60., pytest.approx(-22.6))
    assert '| OpenDlign, ShapeNet | ModelNet40 | top1 | 82.6 | 60.0 | -22.6 |' in table_text(entries, False)
    detection = next(entry for entry in entries if entry['metric'] == 'AP25')
    assert detection['measured'] == 50., 'average precision is in percent, as published'


def test_another_config_is_measured_anew(place, calls, tmp_path):
    (tmp_path / 'tools').symlink_to(REPOSITORY / 'tools')
    config = tmp_path / 'configs/mine.py'
    config.parent.mkdir()
    for text, count in (('model = dict(a=1)', 1), ('model = dict(a=1)', 1), ('model = dict(a=2)', 2)):
        config.write_text(text)
        moved = Reproduction(tmp_path, place.out, place.checkpoints, place.data_root)
        reproduce([Row('mine', runs=(Run('complete', 'mine.py'), ))], moved)
        assert len(calls) == count


def test_folders_of_data_and_checkpoints_reach_every_path_of_a_config(place, calls):
    for folder in ('modelnet40_normal_resampled', 'openshape', 'scannet'):
        (place.data_root / folder).mkdir()
    (place.data_root / 'openshape/modelnet40_g14.npz').touch()
    for name in ('ulip_pointbert', 'openshape_pointbert_g14', 'opendlign_h14', '3detr_m_scannet'):
        (place.checkpoints / f'{name}.pth').touch()
    ulip = place.command(Run('ModelNet40', 'baselines/ulip_pointbert.py', 'ulip_pointbert'))
    assert f'test_dataloader.dataset.data_root={place.data_root}/modelnet40_normal_resampled' in ulip
    openshape = place.command(Run('ModelNet40', 'baselines/openshape_pointbert_g14.py', 'openshape_pointbert_g14'))
    assert f'model.class_features={place.data_root}/openshape/modelnet40_g14.npz' in openshape
    scannet = place.command(Run('ScanNet', 'opendlign_h14_scannet.py', 'opendlign_h14'))
    assert f'model.proposals.checkpoint={place.checkpoints}/3detr_m_scannet.pth' in scannet
    (place.checkpoints / '3detr_m_scannet.pth').unlink()
    with pytest.raises(FileNotFoundError, match=r"no 3detr_m_scannet.pth .*3DETR's published scannet_masked_ep1080"):
        place.command(Run('ScanNet', 'opendlign_h14_scannet.py', 'opendlign_h14'))


def test_what_is_missing_is_skipped_with_the_way_to_get_it(place, calls, capsys):
    lvis = Run('Objaverse-LVIS', 'benchmarks/opendlign_h14_objaverse_lvis.py', 'opendlign_h14')
    trained = Run('ModelNet40', H14.config, Training('opendlign_h14.py'))
    (place.data_root / 'opendlign').rmdir()
    found = reproduce([Row('A', runs=(lvis, H14, trained))], place)
    assert not calls and [each[2]['state'] for each in found] == ['missing'] * 3
    reasons = [each[2]['reason'] for each in found]
    assert 'OpenShape/openshape-training-data of the Hugging Face hub' in reasons[0]
    assert all('OpenDlign/OpenDlign-Datasets of the Hugging Face hub' in reason for reason in reasons[1:])
    assert 'skipped' in capsys.readouterr().out
    (place.data_root / 'openshape').mkdir()
    (_, _, again), = reproduce([Row('A', runs=(lvis, ))], place)
    assert 'no opendlign_h14.pth' in again['reason'] and '`opendlign download opendlign-h14`' in again['reason']
    with pytest.raises(FileNotFoundError, match='no file of templates at nowhere.json'):
        Reproduction(REPOSITORY, place.out, place.checkpoints, place.data_root, templates=Path('nowhere.json')).command(
            Run('complete', 'opendlign_tiny.py', authors_prompts=True))


def test_a_training_is_shared_by_its_runs_also_at_the_same_time_and_another_one_has_its_own_weights(place, calls):
    small = Training('opendlign_tiny.py', ('train_dataloader.batch_size=8', ))
    other = Training('opendlign_tiny.py', ('model.backbone.combine=shared', ))
    runs = tuple(Run(column, 'opendlign_tiny.py', training) for column in ('complete', 'scan-like')
                 for training in (small, other))
    at_once = Reproduction(REPOSITORY, place.out, place.checkpoints, place.data_root, jobs=2)
    found = reproduce([Row('A', runs=runs)], at_once)
    assert [each[2]['state'] for each in found] == ['measured'] * 4
    trainings = [call for call in calls if 'train.py' in call[0]]
    assert len(trainings) == 2 and len(calls) == 6
    assert all('--resume' in call for call in trainings)
    assert {call[-1] for call in trainings} == {small.options[0], other.options[0]}
    checkpoints = {run.column: command.split()[3] for _, run, each in found for command in [each['command']]
                   if run.checkpoint == small}
    assert len(set(checkpoints.values())) == 1 and len({each[2]['command'].split()[3] for each in found}) == 2


def test_a_training_on_the_clip_of_another_one_comes_second_and_is_tested_with_that_clip(place, calls):
    strategies = {row.method: row for row in demonstration_of('5')}
    row = strategies['dlign-text & depth']
    training = replace(row.runs[0].checkpoint, options=('train_dataloader.batch_size=8', ))  # ten epochs, as the stub
    training = replace(training, clip=replace(training.clip, options=()))
    for _ in range(2):
        (_, _, found), = reproduce([replace(row, runs=(replace(row.runs[0], checkpoint=training), ))], place)
        assert found['state'] == 'measured', found
    assert [Path(call[0]).name for call in calls] == ['train.py', 'convert_checkpoint.py', 'train.py', 'test.py']
    first, converted, second, tested = calls
    clip = Path(first[3]) / 'clip.safetensors'
    assert first[1].endswith('tiny_dlign_text.py') and converted[2:4] == [f'{first[3]}/epoch_10.pth', str(clip)]
    assert '--to-clip' in converted
    assert all(f'model.backbone.pretrained={clip}' in call for call in (second, tested))


def test_draws_of_few_shot_and_options_that_mean_nothing(place, monkeypatch, capsys):
    few = Run('complete', 'opendlign_tiny.py', kind='few_shot', arguments=('--seeds', '3'))
    words = replace(place, seeds=2).command(few)
    assert words[-4:] == ['--seeds', '3', '--seeds', '2'], 'the last one counts'
    assert replace(place, seeds=2).command(replace(few, kind='test', arguments=()))[-2] == '--work-dir'
    tool = load_tool('reproduce')
    for arguments, message in ((['--jobs', '0'], '--jobs must be >= 1, got 0'), (['table6'], 'table 6 is unknown'),
                               (['1', '--rows', 'Mine'], 'no row Mine in table 1')):
        monkeypatch.setattr('sys.argv', ['reproduce.py', *arguments])
        with pytest.raises(SystemExit) as stop:
            tool.main()
        assert stop.value.code == 2 and message in capsys.readouterr().err


def test_rows_of_earlier_calls_stay_in_the_table_and_the_plot_has_both_lines(tmp_path):
    rows = [Row(f'{count} view{"s" * (count > 1)}', runs=(Run('ModelNet40', 'a.py', options=(f'v={count}', )), ))
            for count in (1, 2)]

    def entries(row, value):
        found = dict(metrics={'16-shot': value}, command='', state='measured', reason='')
        return entries_of('11', [(row, row.runs[0], found)], False)
    write_tables(entries(rows[1], 70.), tmp_path, '11', False)
    both = with_earlier_entries(entries(rows[0], 60.), rows, tmp_path / 'table11.json')
    assert [entry['measured'] for entry in both] == [60., 70.]
    again = with_earlier_entries(entries(rows[0], 61.), rows, tmp_path / 'table11.json')
    assert [entry['measured'] for entry in again] == [61., 70.]
    assert with_earlier_entries([], rows[:1], tmp_path / 'table11.json') == [], 'rows that the table no longer has'
    # Figure 4 and table 11 of the paper: 74.3 and 78.3 with one and two views of ModelNet40.
    assert plotted_lines('11', both) == {'ModelNet40': {'measured': {1: 60., 2: 70.}, 'published': {1: 74.3, 2: 78.3}}}
    paths = write_tables(both, tmp_path, '11', False)
    assert [path.name for path in paths] == ['table11.md', 'table11.csv', 'table11.json', 'table11.png']
    assert paths[-1].stat().st_size > 1000 and (tmp_path / 'table11.csv').read_text().startswith('table,method')


def test_a_command_that_fails_is_no_reason_to_stop_but_the_exit_status_tells(place, tmp_path, monkeypatch, capsys):
    script = tmp_path / 'fail.py'
    script.write_text('import sys; sys.exit("noise\\nerror: the file is damaged;\\n get it again")')
    runs = tuple(Run(column, 'opendlign_tiny.py') for column in ('complete', 'scan-like'))
    monkeypatch.setattr(Reproduction, 'command', lambda self, run: [
        str(tmp_path / 'killed.py' if run.column == 'complete' else script)])
    (tmp_path / 'killed.py').write_text('import os, signal; os.kill(os.getpid(), signal.SIGKILL)')
    tool = load_tool('reproduce')
    monkeypatch.setattr(tool, 'demonstration_of', lambda table: [Row('A', runs=runs)])
    monkeypatch.setattr('sys.argv', ['reproduce.py', '1', '--data', 'built-in', '--out', str(tmp_path / 'out')])
    with pytest.raises(SystemExit) as stop:
        tool.main()
    killed, damaged = json.loads((tmp_path / 'out/built-in/table1.json').read_text())
    assert stop.value.code == 1 and (killed['state'], damaged['state']) == ('failed', 'failed')
    assert killed['reason'].startswith('the command was ended by signal 9 (log: ')
    assert damaged['reason'].startswith('the file is damaged; get it again (log: ')
    assert 'failed: the file is damaged' in capsys.readouterr().out
    place.stop()
    (_, _, found), = reproduce([Row('A', runs=runs[1:])], place)
    assert found['reason'] == 'stopped'


SMALL = ('train_cfg.max_epochs=12', *(f'{loader}.{key}={value}' for loader in ('train_dataloader', 'test_dataloader')
                                      for key, value in {'batch_size': 4, 'num_workers': 0,
                                                         'dataset.categories': 'chair,lamp', 'dataset.num_points': 300,
                                                         'dataset.num_per_category': 2}.items()))


def test_a_killed_run_goes_on_from_its_start_to_the_table(tmp_path, monkeypatch, capsys):
    """The whole group of processes is killed during the training; the same command then resumes the training."""
    options = (*SMALL, f'cache_dir={tmp_path}/cache')
    training = Training('opendlign_tiny.py', options)
    rows = [Row('small', runs=(Run('complete', 'opendlign_tiny.py', training, options), ))]
    tool = load_tool('reproduce')
    monkeypatch.setattr(tool, 'demonstration_of', lambda table: rows)
    monkeypatch.setenv('PYTHONPATH', os.pathsep.join([str(REPOSITORY), os.environ.get('PYTHONPATH', '')]))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr('sys.argv', ['reproduce.py', 'table1', '--data', 'built-in', '--out', 'out'])

    def run_alone():
        os.setsid()
        tool.main()
    first = multiprocessing.get_context('fork').Process(target=run_alone)
    first.start()
    deadline = time.monotonic() + 240
    while not list(tmp_path.glob('out/built-in/trained/*/epoch_*.pth')):
        assert first.is_alive() and time.monotonic() < deadline, 'no epoch was finished'
        time.sleep(.02)
    os.killpg(first.pid, signal.SIGKILL)
    first.join()
    assert not list(tmp_path.rglob('epoch_12.pth')) and not list(tmp_path.rglob('measured.json'))

    with pytest.raises(SystemExit) as stop:
        tool.main()
    assert stop.value.code == 0, capsys.readouterr().out
    log = next(tmp_path.glob('out/built-in/trained/*/command.log')).read_text()
    assert 'resumed epoch' in log and 'Epoch(train)  [1]' not in log, log[-2000:]
    text = (tmp_path / 'out/built-in/table1.md').read_text()
    assert 'A demonstration' in text and '| small | complete | top5 |  | 100.0 |' in text
    entries = json.loads((tmp_path / 'out/built-in/table1.json').read_text())
    assert {entry['metric'] for entry in entries} == {'top1', 'top3', 'top5'}
