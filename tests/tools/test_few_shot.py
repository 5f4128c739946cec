"""tools/few_shot.py from end to end: its files, its options, and objects that cannot be read."""
import csv
import sys

import numpy as np
import pytest
from PIL import Image

from helpers.broken_dataset import Broken
from helpers.tiny_runs import tiny_config
from helpers.tool_modules import load_tool
from opendlign_mm.evaluation.few_shot import classify_few_shot


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    """``run(*arguments)`` runs the tool on the tiny configuration and returns the module and what it printed."""
    config = tiny_config(tmp_path / 'work', objects_per_class=4)
    config.dump(str(tmp_path / 'config.py'))
    module = load_tool('few_shot')

    def run(*arguments):
        arguments = ('--shots', '1', '3', '--seeds', '2', '--num-workers', '0', '--out', tmp_path / 'out', *arguments)
        monkeypatch.setattr(sys, 'argv', ['few_shot.py', str(tmp_path / 'config.py'), *map(str, arguments)])
        module.main()
        return capsys.readouterr()

    run.module = module
    return run


def rows_of(folder):
    with (folder / 'few_shot.csv').open(newline='') as file:
        return list(csv.DictReader(file))


def test_tool(run, tmp_path):
    printed = run().out
    rows = rows_of(tmp_path / 'out')
    assert [(row['shots'], row['seed']) for row in rows] == [('0', ''), ('1', '0'), ('1', '1'), ('3', '0'), ('3', '1')]
    top1 = [float(row['top1']) for row in rows]
    assert all(value * 8 / 100 == int(value * 8 / 100) for value in top1), 'shares of the 8 test objects'
    mean, deviation = np.mean(top1[3:]), np.std(top1[3:], ddof=1)
    table = (tmp_path / 'out/few_shot.md').read_text()
    assert '| shots per class | 0 (zero-shot) | 1 | 3 |' in table and table.split('\n\n')[0] in printed
    assert f'{mean:.1f} ± {deviation:.1f}' in table and f'| {top1[0]:.1f} |' in table
    assert Image.open(tmp_path / 'out/few_shot.png').size[0] > 400
    assert sorted(path.name for path in (tmp_path / 'out').iterdir()) == ['few_shot.csv', 'few_shot.md', 'few_shot.png']


def test_tool_with_another_split_of_the_test_set(run, tmp_path):
    printed = run('--train', 'split=train', 'num_per_category=4', '--shots', '2').out
    top1 = [float(row['top1']) for row in rows_of(tmp_path / 'out') if row['shots'] == '2']
    assert len(top1) == 2 and 'some classes have only' not in printed
    assert 'some classes have only 2 training objects' in run('--train', 'split=val', '--shots', '3').out


def test_tool_replaces_objects_that_cannot_be_read(run, monkeypatch, tmp_path):
    original = run.module.training_set
    broken = set(range(4))  # of each class the first object

    def training_set(*arguments):
        dataset = original(*arguments)
        wrapped = Broken(dataset, broken)
        wrapped.metainfo, wrapped.get_data_info = dataset.metainfo, dataset.get_data_info
        return wrapped

    monkeypatch.setattr(run.module, 'training_set', training_set)
    sizes = []
    monkeypatch.setattr('opendlign_mm.evaluation.few_shot.classify_few_shot',
                        lambda train, *others, **options: (
                            sizes.append(len(train)) or classify_few_shot(train, *others, **options)))
    assert 'left out: 4' in run().out
    assert sizes == [4, 4, 12, 12]


def test_tool_errors(run, tmp_path, capsys):
    for arguments, message in ((('--shots', '0'), '--seeds and --shots must be >= 1'),
                               (('--train', 'split=nonsense'), 'split must be one of'),
                               (('--cfg-options', 'train_dataloader=None'),
                                'give the settings of the training objects with --train')):
        with pytest.raises(SystemExit):
            run(*arguments)
        assert message in capsys.readouterr().err
    assert not (tmp_path / 'out').exists()


def test_tool_refuses_test_objects_for_training(run, tmp_path, capsys):
    with pytest.raises(SystemExit):
        run('--train', 'split=test', '--shots', '2')
    message = capsys.readouterr().err
    assert '8 of 8 training objects are test objects, too: ' in message and '-test-' in message
    assert 'use --holdout' in message and not (tmp_path / 'out').exists()


def test_tool_with_shots_from_the_test_set(run, tmp_path, capsys):
    run('--holdout', '--shots', '1')
    top1 = [float(row['top1']) for row in rows_of(tmp_path / 'out') if row['shots'] == '1']
    assert len(top1) == 2 and all(value % 25 == 0 for value in top1), 'shares of the 4 objects that a draw leaves'
    assert 'on the test objects that it leaves' in (tmp_path / 'out/few_shot.md').read_text()
    with pytest.raises(SystemExit):
        run('--holdout')
    assert 'some class has only 2 test objects: of 3 shots per class none is left' in capsys.readouterr().err
    with pytest.raises(SystemExit):
        run('--holdout', '--train', 'split=train')
    assert 'not allowed with argument' in capsys.readouterr().err


def test_a_plot_that_fails_leaves_the_numbers(run, monkeypatch, tmp_path):
    def fail(*_):
        raise OSError('No space left on device')

    monkeypatch.setattr(run.module, 'draw_few_shot_plot', fail)
    printed = run()
    assert 'few_shot.png could not be drawn: OSError No space left on device' in printed.err
    assert '| shots per class |' in printed.out and len(rows_of(tmp_path / 'out')) == 5
