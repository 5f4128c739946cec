"""ZeroShotAccuracy against values worked out by hand and against scikit-learn."""
import numpy as np
import pytest
import torch
from mmengine.logging import MMLogger
from sklearn.metrics import f1_score, precision_score, recall_score, top_k_accuracy_score

from helpers.predictions import evaluate, sample
from opendlign_mm.evaluation import ZeroShotAccuracy
from opendlign_mm.structures import ShapeDataSample


def test_worked_out_by_hand():
    samples = [sample(0, [.9, .1, .0]), sample(0, [.2, .7, .1]), sample(1, [.1, .8, .1]), sample(2, [.5, .3, .2])]
    metrics = evaluate(samples, topk=(1, 2))
    assert metrics['zero_shot/top1'] == 50 and metrics['zero_shot/top2'] == 75
    # precision: class 0 1/2, class 1 1/2, class 2 never predicted; recall: 1/2, 1, 0.
    assert metrics['zero_shot/precision'] == pytest.approx(100 / 3)
    assert metrics['zero_shot/recall'] == pytest.approx(50)
    assert metrics['zero_shot/f1'] == pytest.approx(100 * (1 / 2 + 2 / 3 + 0) / 3)
    assert metrics['zero_shot/num_samples'] == 4 and 'zero_shot/top1_frozen' not in metrics


def test_equals_scikit_learn():
    generator = np.random.default_rng(0)
    scores = generator.random((200, 7)).astype(np.float32)
    labels = generator.integers(0, 7, 200)
    scores[np.arange(200), labels] += 0.3
    metrics = evaluate([sample(int(label), row) for label, row in zip(labels, scores)])
    predicted = scores.argmax(1)
    for k in (1, 3, 5):
        expected = top_k_accuracy_score(labels, scores, k=k, labels=range(7))
        assert metrics[f'zero_shot/top{k}'] == pytest.approx(100 * expected)
    for name, function in (('precision', precision_score), ('recall', recall_score), ('f1', f1_score)):
        assert metrics[f'zero_shot/{name}'] == pytest.approx(100 * function(labels, predicted, average='macro'))


def test_fewer_classes_than_k_and_equal_scores():
    metrics = evaluate([sample(0, [.5, .5]), sample(1, [.5, .5])])
    assert metrics['zero_shot/top1'] == 50, 'a model that cannot tell classes apart is not right everywhere'
    assert metrics['zero_shot/top3'] == metrics['zero_shot/top5'] == 100


def test_pretrained_model_next_to_the_tuned_one():
    metrics = evaluate([sample(0, [.9, .1], [.1, .9]), sample(1, [.1, .9], [.2, .8])])
    assert metrics['zero_shot/top1'] == 100 and metrics['zero_shot/top1_frozen'] == 50


def test_table_per_class(monkeypatch):
    lines = []
    monkeypatch.setattr(MMLogger.get_current_instance(), 'info', lines.append)
    evaluate([sample(0, [.9, .1, .0]), sample(0, [.2, .7, .1]), sample(1, [.1, .8, .1])],
             classes=['chair', 'table', 'lamp'])
    rows = [[cell.strip() for cell in row.strip('|').split('|')] for row in '\n'.join(lines).splitlines() if '|' in row]
    assert rows[0] == ['class', 'samples', 'recall (top-1)', 'precision', 'F1']
    assert rows[1] == ['chair', '2', '50.0', '100.0', '66.7']
    assert rows[2] == ['table', '1', '100.0', '50.0', '66.7']
    assert rows[3] == ['lamp', '0', '-', '0.0', '-']


def test_errors():
    with pytest.raises(ValueError, match='label 2, but there are scores for 2 classes only.*vocabulary'):
        evaluate([sample(2, [.5, .5])])
    with pytest.raises(ValueError, match='dataset has 3 classes, the model scores 2'):
        evaluate([sample(1, [.5, .5])], classes=['a', 'b', 'c'])
    with pytest.raises(ValueError, match='pred_scores of sample s are not finite'):
        evaluate([sample(1, [.5, float('nan')])])
    with pytest.raises(ValueError, match='sample s has no gt_label'):
        evaluate([ShapeDataSample(metainfo=dict(sample_id='s')).set_pred_scores(torch.ones(2))])
    for topk in ((0, ), (), (3, 0)):
        with pytest.raises(ValueError, match='topk must be numbers >= 1'):
            ZeroShotAccuracy(topk=topk)
    with pytest.raises(ValueError, match='num_confused_pairs must be >= 0, got -1'):
        ZeroShotAccuracy(num_confused_pairs=-1)
    with pytest.raises(ValueError, match='there are no samples to evaluate'):
        ZeroShotAccuracy().compute_metrics([])
    with pytest.raises(ValueError, match='pred_scores_pretrained of sample s are not finite'):
        evaluate([sample(1, [.5, .2], [float('inf'), 0])])


def test_one_k_may_be_a_number_and_names_may_be_absent(monkeypatch):
    lines = []
    monkeypatch.setattr(MMLogger.get_current_instance(), 'info', lines.append)
    metrics = evaluate([sample(0, [.9, .1]), sample(1, [.6, .4])], topk=2)
    assert [name for name in metrics if 'top' in name] == ['zero_shot/top2'] and metrics['zero_shot/top2'] == 100
    rows = [row.strip('|').split('|')[0].strip() for row in '\n'.join(lines).splitlines() if row.startswith('|')]
    assert rows == ['class', '0', '1', 'class', '1'], 'the table of classes, then the confused pairs'


def test_the_frozen_model_is_wrong_more_often():
    metrics = evaluate([sample(0, [.9, .1], [.1, .9]), sample(1, [.1, .9], [.2, .8]), sample(0, [.9, .1], [.4, .6])])
    assert metrics['zero_shot/top1'] == 100 and metrics['zero_shot/top1_frozen'] == pytest.approx(100 / 3)


def test_the_frozen_model_counts_only_if_all_samples_have_it():
    metrics = evaluate([sample(0, [.9, .1], [.1, .9]), sample(1, [.1, .9])])
    assert 'zero_shot/top1_frozen' not in metrics


def test_another_prefix():
    assert evaluate([sample(0, [.9, .1])], prefix='mine')['mine/top1'] == 100


def test_equal_scores_of_many_classes_rank_in_the_order_of_the_classes():
    # More classes than an unstable sort leaves in order.
    ties = [0.] * 100
    metrics = evaluate([sample(label, ties) for label in (0, 2, 3, 4, 5, 99)], print_per_class=False)
    assert [metrics[f'zero_shot/top{k}'] for k in (1, 3, 5)] == pytest.approx([100 / 6, 200 / 6, 400 / 6])


def test_five_confused_pairs_are_logged_by_default(monkeypatch):
    lines = []
    monkeypatch.setattr(MMLogger.get_current_instance(), 'info', lines.append)
    wrong = [sample(label, np.eye(8, dtype=np.float32)[label - 1]) for label in range(1, 8)]
    evaluate(wrong)
    rows = [row for row in '\n'.join(lines).partition('Most confused pairs')[2].splitlines() if row.startswith('|')]
    assert len(rows) == 1 + 5
    assert '| 1     | 0         | 1       | 100.0' in rows[1], 'the class, what it is taken for, how often, its share'
