"""The most confused pairs, their files, and the figure of the confusion matrix."""
import csv

import numpy as np
import pytest
from mmengine.logging import MMLogger
from PIL import Image

from helpers.predictions import evaluate, sample
from opendlign_mm.evaluation.zero_shot_accuracy import most_confused_pairs
from opendlign_mm.visualization import draw_confusion_matrix


def test_most_confused_pairs_by_hand():
    confusion = np.array([[5, 3, 0], [1, 1, 3], [0, 0, 9]])
    pairs = most_confused_pairs(confusion, 5)
    # Both pairs have 3 objects; 3 of 5 is the larger share than 3 of 8.
    assert [(pair.label, pair.predicted, pair.count) for pair in pairs] == [(1, 2, 3), (0, 1, 3), (1, 0, 1)]
    assert pairs[0].share == pytest.approx(3 / 5)
    assert most_confused_pairs(confusion, 1) == pairs[:1] and most_confused_pairs(confusion, 0) == []
    assert most_confused_pairs(np.diag([3, 0])) == []
    assert len(most_confused_pairs(np.ones((3, 3), dtype=int))) == 5, 'of 6'
    assert confusion[0, 0] == 5, 'the matrix stays as it was'


def test_metric_writes_classes_and_figure(tmp_path):
    samples = [sample(0, [.9, .1, .0]), sample(0, [.2, .7, .1]), sample(1, [.1, .8, .1])]
    evaluate(samples, classes=['chair', 'table, round', 'lamp'], out_dir=tmp_path / 'new')
    with (tmp_path / 'new/per_class.csv').open(newline='') as file:
        rows = list(csv.reader(file))
    assert rows == [['class', 'samples', 'recall (top-1)', 'precision', 'F1'],
                    ['chair', '2', '50.0', '100.0', '66.7'],
                    ['table, round', '1', '100.0', '50.0', '66.7'],
                    ['lamp', '0', '-', '0.0', '-']]
    assert Image.open(tmp_path / 'new/confusion_matrix.png').size[0] > 300
    assert len(list((tmp_path / 'new').iterdir())) == 2


def test_class_names_are_no_formulas_in_the_table(tmp_path):
    evaluate([sample(0, [.9, .1])], classes=['=1+1', 'lamp'], out_dir=tmp_path)
    with (tmp_path / 'per_class.csv').open(newline='') as file:
        assert [row[0] for row in csv.reader(file)] == ['class', "'=1+1", 'lamp']


@pytest.mark.parametrize('failing, left', [('visualization.plots.draw_confusion_matrix', 'per_class.csv'),
                                           ('evaluation.zero_shot_accuracy.write_csv', 'confusion_matrix.png')])
def test_a_file_that_fails_leaves_the_metrics(tmp_path, monkeypatch, failing, left):
    def fail(*_):
        raise OSError('No space left on device')

    warnings = []
    monkeypatch.setattr(f'opendlign_mm.{failing}', fail)
    monkeypatch.setattr(MMLogger.get_current_instance(), 'warning', warnings.append)
    metrics = evaluate([sample(0, [.9, .1]), sample(1, [.6, .4])], classes=['$', 'lamp'], out_dir=tmp_path)
    assert metrics['zero_shot/top1'] == 50 and [path.name for path in tmp_path.iterdir()] == [left]
    assert len(warnings) == 1 and 'No space left on device' in warnings[0]


def test_metric_without_a_run_writes_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr('opendlign_mm.evaluation.zero_shot_accuracy.results_folder', lambda: None)
    evaluate([sample(0, [.9, .1])])
    assert not list(tmp_path.iterdir())


def test_metric_logs_the_pairs(monkeypatch):
    lines = []
    monkeypatch.setattr(MMLogger.get_current_instance(), 'info', lines.append)
    samples = [sample(0, [.1, .9]), sample(0, [.1, .9]), sample(0, [.9, .1]), sample(1, [.8, .2])]
    evaluate(samples, classes=['door', 'window'], print_per_class=False)
    rows = [[cell.strip() for cell in row.strip('|').split('|')] for row in '\n'.join(lines).splitlines() if '|' in row]
    assert rows[1:] == [['door', 'window', '2', '66.7'], ['window', 'door', '1', '100.0']]
    lines.clear()
    evaluate([sample(2, [0., .2, .1]), sample(2, [0., .1, .2])], ['door', 'window', 'wall'], print_per_class=False)
    assert '| wall  | window    | 1 ' in '\n'.join(lines), 'also if some classes do not occur'
    lines.clear()
    evaluate(samples, print_per_class=False, num_confused_pairs=0)
    assert not any('confused' in line for line in lines)


def dark_blue(path):
    image = np.asarray(Image.open(path).convert('RGB')).astype(int)
    return (np.abs(image - [8, 48, 107]).sum(axis=2) < 10).sum()  # the color of 100 %


def test_figure_shows_shares(tmp_path):
    names = list('abcd')
    right = dark_blue(draw_confusion_matrix(np.eye(4, dtype=int), names, tmp_path / 'right.png'))
    spread = dark_blue(draw_confusion_matrix(np.ones((4, 4), dtype=int), names, tmp_path / 'spread.png'))
    assert right > spread + 4 * 1000, 'four full cells are dark, quarters are not'


def test_figure_of_a_large_vocabulary(tmp_path):
    confusion = np.diag(np.full(200, 5))
    confusion[7, 90] = confusion[90, 11] = 4
    path = draw_confusion_matrix(confusion, [str(i) for i in range(200)], tmp_path / 'large.png', max_classes=3)
    assert max(Image.open(path).size) < 1000
    with pytest.raises(ValueError, match=r'3 classes must have shape \(C, C\), got \(2, 2\)'):
        draw_confusion_matrix(np.eye(2), list('abc'), tmp_path / 'wrong.png')
    assert not (tmp_path / 'wrong.png').exists()
