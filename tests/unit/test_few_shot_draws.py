"""Few-shot classification: draws, the classifier against scikit-learn, labels by name, and objects of one set only."""
import numpy as np
import pytest
import torch
from mmdet3d.registry import DATASETS
from PIL import Image
from sklearn.linear_model import LogisticRegression

from helpers.broken_dataset import Broken
from helpers.tiny_runs import tiny_config, tiny_model
from opendlign_mm.evaluation.few_shot import (
    FewShotResult,
    TrainingObjects,
    classify_draws,
    classify_few_shot,
    draw_shots,
    summarize,
)
from opendlign_mm.evaluation.few_shot_objects import (
    check_disjoint,
    draws_of_test_set,
    extract_draws,
    labels_in_test_set,
    training_set,
    view_features,
    zero_shot_accuracy,
)
from opendlign_mm.evaluation.logistic_regression import TorchLogisticRegression
from opendlign_mm.visualization.plots import draw_few_shot_plot


def clusters(num_classes, per_class, noise, seed=0):
    """Unit features (N, 4 views, 6) of classes around fixed centers, and their labels."""
    generator = np.random.default_rng(seed)
    centers = np.random.default_rng(99).normal(size=(num_classes, 6))
    labels = np.repeat(np.arange(num_classes) * 3, per_class)  # labels with gaps, as where classes have no objects
    features = centers[labels // 3][:, None] + noise * generator.normal(size=(len(labels), 4, 6))
    return features / np.linalg.norm(features, axis=-1, keepdims=True), labels


def test_draws():
    labels = np.array([4, 7, 4, 7, 4, 4, 7, 4, 9])
    chosen = draw_shots(labels, 2, seed=0)
    assert labels[chosen].tolist().count(4) == 2 and labels[chosen].tolist().count(7) == 2
    assert labels[chosen].tolist().count(9) == 1, 'a class with fewer objects gives all'
    assert (chosen == draw_shots(labels, 2, seed=0)).all() and len(set(chosen)) == 5
    assert set(chosen) < set(draw_shots(labels, 3, seed=0)), 'more shots add to fewer'
    assert len({tuple(draw_shots(labels, 2, seed)) for seed in range(20)}) > 3
    for seed in range(5):
        without = draw_shots(labels, 2, seed, left_out=[0, 2])
        assert not {0, 2} & set(without) and labels[without].tolist().count(4) == 2
    with pytest.raises(ValueError, match='must be >= 1, got 0'):
        draw_shots(labels, 0, 0)


def test_classifier_sums_the_logits_over_views():
    train, labels = clusters(3, 6, .8)
    test, _ = clusters(3, 40, .8, seed=1)
    predicted = classify_few_shot(train, labels, test, C=2.)
    reference = LogisticRegression(C=2., max_iter=1000).fit(train.reshape(-1, 6), labels.repeat(4))
    logits = sum(test[:, view] @ reference.coef_.T + reference.intercept_ for view in range(4))
    assert (predicted == reference.classes_[logits.argmax(1)]).all()
    single = reference.predict(test[:, 0])
    assert (predicted != single).any(), 'one view alone says something else'


def test_separable_classes_and_two_classes():
    for num_classes in (2, 5):
        train, labels = clusters(num_classes, 1, .05)
        test, truth = clusters(num_classes, 10, .05, seed=1)
        assert (classify_few_shot(train, labels, test) == truth).all()
    with pytest.raises(ValueError, match='at least two classes'):
        classify_few_shot(train[:1], labels[:1], test)


def test_summary_by_hand():
    results = [FewShotResult(2, 0, 50.), FewShotResult(1, 0, 30.), FewShotResult(2, 1, 60.), FewShotResult(4, 0, 70.)]
    rows = summarize(results)
    assert [row['shots'] for row in rows] == [1, 2, 4]
    assert rows[1] == dict(shots=2, mean=55., std=pytest.approx(np.sqrt(50)), seeds=2)
    assert rows[0]['std'] is None and rows[2]['mean'] == 70


def blue(path):
    picture = np.asarray(Image.open(path).convert('RGB')).astype(int)
    return np.argwhere(np.abs(picture - [31, 119, 180]).sum(axis=2) < 20)  # tab:blue


def test_plot_rises(tmp_path):
    rows = [dict(shots=1, mean=20., std=3., seeds=3), dict(shots=16, mean=90., std=None, seeds=3)]
    points = blue(draw_few_shot_plot(rows, tmp_path / 'plot.png', 50.))
    left, right = points[points[:, 1] < np.median(points[:, 1])], points[points[:, 1] > np.median(points[:, 1])]
    assert left[:, 0].mean() > right[:, 0].mean() + 50, 'more shots are higher up'
    with pytest.raises(ValueError, match='nothing to draw'):
        draw_few_shot_plot([], tmp_path / 'empty.png')


def test_unreadable_objects_are_replaced_also_if_all_of_a_round_are(tmp_path):
    model = tiny_model().eval()
    dataset = DATASETS.build(tiny_config(tmp_path, augment=False).train_dataloader.dataset)  # 3 objects of 4 classes
    labels = np.array([dataset.get_data_info(index)['gt_label'] for index in range(12)])
    first = draw_shots(labels, 1, 0)
    second = draw_shots(labels, 1, 0, first)
    drawn = extract_draws(model, Broken(dataset, set(first)), labels, [1], 1)
    assert sorted(drawn.skipped) == first.tolist()
    assert drawn.labels[drawn.draws[1, 0]].tolist() == labels[second].tolist()
    of_a_class = np.flatnonzero(labels == labels[0])
    with pytest.raises(ValueError, match=f'training objects of 1 classes can be read; the first: file {of_a_class[0]}'):
        extract_draws(model, Broken(dataset, set(of_a_class)), labels, [1], 1)


class Objects:
    """A dataset of records alone."""

    def __init__(self, classes, records):
        self.metainfo, self.records = dict(classes=classes), records

    def __len__(self):
        return len(self.records)

    def get_data_info(self, index):
        return self.records[index]


def labeled(*classes):
    return Objects(classes, [dict(gt_label=label) for label in (0, 1, 2, 1)])


def test_labels_are_matched_by_the_names_of_the_classes():
    test = labeled('chair', 'night_stand', 'lamp')
    assert labels_in_test_set(labeled('chair', 'night_stand', 'lamp'), test).tolist() == [0, 1, 2, 1]
    assert labels_in_test_set(labeled('night stand', 'lamp', 'chair'), test).tolist() == [1, 2, 0, 2]
    with pytest.raises(ValueError, match='only the training set has bed; only the dataset has lamp.*--train split='):
        labels_in_test_set(labeled('chair', 'night_stand', 'bed'), test)
    with pytest.raises(ValueError, match='Objects.* has objects without a class'):
        labels_in_test_set(Objects((), [dict(sample_id='a')]), test)


def test_one_object_in_both_sets_is_refused(tmp_path):
    (tmp_path / 'link').symlink_to(tmp_path)
    test = Objects((), [dict(sample_id='t/1', points_path=str(tmp_path / 'a.npy')),
                        dict(sample_id='t/2', points_path=str(tmp_path / 'b.h5'), points_index=3),
                        dict(sample_id='t/3', shape_seed=(2, 0, 5))])

    def train(**record):
        check_disjoint(Objects((), [dict(sample_id='first'), dict(dict(sample_id='second'), **record)]), test)

    train()
    train(points_path=str(tmp_path / 'b.h5'), points_index=4)
    train(points_path=str(tmp_path / 'c.npy'), shape_seed=(1, 0, 5))
    for record in (dict(points_path=str(tmp_path / 'link/a.npy')), dict(shape_seed=(2, 0, 5)),
                   dict(points_path=str(tmp_path / 'b.h5'), points_index=3)):
        with pytest.raises(ValueError, match='1 of 2 training objects are test objects, too: second.*--holdout'):
            train(**record)
    with pytest.raises(ValueError, match='test objects, too: t/2'):
        train(sample_id='t/2')


def test_held_out_draws_are_not_tested():
    # One feature for each object, and labels that no rule predicts: only an object itself tells its label.
    features, labels = np.eye(12)[:, None], np.array([0, 1] * 6)
    draws = {(3, 0): np.arange(6), (5, 0): np.arange(2, 12)}
    same = classify_draws(TrainingObjects(features, labels, draws, {}), features, labels, 1e6)
    assert [result.top1 for result in same] == [pytest.approx(75), pytest.approx(100 * 11 / 12)]
    held = classify_draws(TrainingObjects(features, labels, draws, {}, held_out=True), features, labels, 1e6)
    # Without a feature in common all objects get one and the same class, of which half is right.
    assert [(result.shots, result.top1) for result in held] == [(3, 50.), (5, 50.)]


def test_zero_shot_accuracy_by_hand():
    model = tiny_model().eval()
    names = ['lamp', 'chair', 'table', 'bottle']
    with torch.no_grad():
        model.set_vocabulary(names)
        texts = model.class_features()[:, None].expand(-1, 2, -1).numpy()  # objects that look like the names
    model.set_vocabulary(names[::-1])  # of another dataset
    extracted = dict(features=dict(pretrained=texts, tuned=texts), labels=np.array([0, 1, 2, 0]))
    assert zero_shot_accuracy(model, extracted, names) == 75
    model.zero_shot_head.logit_scale = 'clip'
    assert zero_shot_accuracy(model, extracted, names) == 75


def test_views_come_from_the_branches_of_zero_shot_classification():
    model = tiny_model().eval()
    features = dict(pretrained=np.zeros((3, 4, 5), np.float32), tuned=np.ones((3, 4, 5), np.float32))
    assert view_features(model, dict(features=features))[0, :, 0].tolist() == [0, 0, 1, 1]
    model.zero_shot_head.branches = 'tuned'
    assert view_features(model, dict(features=features)).min() == 1


def test_training_set_of_a_config(tmp_path):
    config = tiny_config(tmp_path)
    kinds = [type(transform).__name__ for transform in training_set(config).pipeline.transforms]
    assert kinds == ['LoadBuiltInShape', 'ProjectPointsToDepth', 'PackShapeInputs'], 'that of the test set'
    assert training_set(config).split == 'train'
    config.train_dataloader.dataset = dict(type='RepeatDataset', times=3, dataset=config.train_dataloader.dataset)
    assert len(training_set(config)) == 12, 'each of the objects once'
    changed = training_set(config, dict(split='val', num_per_category=5))
    assert changed.split == 'val' and len(changed) == 20 and config.test_dataloader.dataset.split == 'test'
    config.train_dataloader = None
    assert training_set(config, dict(split='val')).split == 'val'
    with pytest.raises(ValueError, match='has no train_dataloader; give .* with --train, e.g. --train split=train'):
        training_set(config)


def test_draws_among_the_test_objects():
    model = tiny_model().eval()
    features = np.arange(7, dtype=np.float32)[:, None, None] * np.ones((1, 2, 5), np.float32)
    tested = dict(features=dict(pretrained=features, tuned=features), labels=np.array([4, 4, 4, 9, 9, 9, 9]))
    drawn = draws_of_test_set(model, tested, [2, 1], 3)
    assert list(drawn.draws) == [(1, 0), (1, 1), (1, 2), (2, 0), (2, 1), (2, 2)] and drawn.held_out
    for (shots, _), rows in drawn.draws.items():
        assert drawn.labels[rows].tolist() == [4] * shots + [9] * shots
    assert (drawn.features[:, 0, 0] == np.arange(7)).all()
    with pytest.raises(ValueError, match='some class has only 3 test objects: of 3 shots .* at most 2'):
        draws_of_test_set(model, tested, [1, 3], 1)


def test_a_class_with_fewer_objects_than_shots_gives_all(tmp_path, capsys):
    model = tiny_model().eval()
    dataset = training_set(tiny_config(tmp_path))  # 3 objects of each of 4 classes
    labels = np.array([dataset.get_data_info(index)['gt_label'] for index in range(12)])
    drawn = extract_draws(model, dataset, labels, [3], 2)
    assert capsys.readouterr().out == '' and drawn.features.shape[0] == 12 and not drawn.held_out
    whole = extract_draws(model, dataset, labels, [4, 2], 1)
    assert 'some classes have only 3 training objects; they give these where more' in capsys.readouterr().out
    assert sorted(whole.draws[4, 0]) == list(range(12)) and len(whole.draws[2, 0]) == 8
    # Rows of the features belong to the labels: those of one object are the same in all draws.
    alone = extract_draws(model, dataset, labels, [1], 1)
    chosen = draw_shots(labels, 1, 0)
    assert alone.labels.tolist() == labels[chosen].tolist()
    np.testing.assert_allclose(alone.features[alone.draws[1, 0]],
                               extract_draws(model, dataset, labels, [3], 1).features[chosen], atol=1e-5)


def test_the_smallest_class_is_the_one_that_is_too_small(tmp_path, capsys):
    model = tiny_model().eval()
    dataset = training_set(tiny_config(tmp_path))
    extract_draws(model, dataset, np.array([5, 2, 5] + [5] * 9), [2], 1)
    assert 'some classes have only 1 training objects' in capsys.readouterr().out
    with pytest.raises(ValueError, match='some class has only 1 test objects'):
        draws_of_test_set(model, dict(labels=np.array([5, 2, 5])), [1], 1)


def test_no_objects_give_no_draw():
    chosen = draw_shots(np.zeros(0, dtype=int), 1, 0)
    assert chosen.shape == (0, ) and chosen.dtype == np.int64


def test_progress_is_titled_and_readers_get_their_options(tmp_path, monkeypatch):
    given = []

    def extract(model, dataset, indices, **options):
        given.append(options)
        return dict(features=dict(pretrained=np.zeros((len(indices), 2, 3), np.float32),
                                  tuned=np.zeros((len(indices), 2, 3), np.float32)), indices=np.array(indices))

    monkeypatch.setattr('opendlign_mm.evaluation.few_shot_objects.extract_features', extract)
    extract_draws(tiny_model(), None, np.array([0, 1, 1]), [1], 1, batch_size=7, num_workers=2)
    assert given == [dict(skipped={}, title='training objects', allow_none=True, batch_size=7, num_workers=2)]


def test_the_classifier_is_scikit_learns_default_with_more_iterations(monkeypatch):
    given = []

    class Recorder(LogisticRegression):
        def fit(self, samples, labels):
            given.append((self.C, self.max_iter, samples.shape, labels.tolist()))
            return super().fit(samples, labels)

    monkeypatch.setattr('sklearn.linear_model.LogisticRegression', Recorder)
    train, labels = clusters(2, 1, .1)
    classify_few_shot(train, labels, train)
    classify_draws(TrainingObjects(train, labels, {(1, 0): np.arange(2)}, {}), train, labels)
    assert given == [(1., 1000, (8, 6), [0] * 4 + [3] * 4)] * 2
    classify_draws(TrainingObjects(train, labels, {(1, 0): np.arange(2)}, {}), train, labels, 7.)
    classify_few_shot(train, labels, train, C=7., max_iter=50)
    assert [recorded[:2] for recorded in given[2:]] == [(7., 1000), (7., 50)]


def test_the_first_five_objects_of_both_sets_are_named():
    records = [dict(sample_id=f'object {number}') for number in range(7)]
    with pytest.raises(ValueError, match='7 of 7 .*: object 0, object 1, object 2, object 3, object 4, ...[.] Choose'):
        check_disjoint(Objects((), records), Objects((), records))
    with pytest.raises(ValueError, match='5 of 5 .*: object 0, object 1, object 2, object 3, object 4[.] Choose'):
        check_disjoint(Objects((), records[:5]), Objects((), records))


@pytest.mark.parametrize('classes, C', [(2, 1.), (3, .3), (12, 5.)])
def test_the_solver_for_gpus_agrees_with_scikit_learn(classes, C, device):
    rng = np.random.default_rng(classes)
    labels = rng.integers(0, classes, 300) * 7
    samples = rng.normal(size=(300, 16)) + .4 * rng.normal(size=(7 * classes, 16))[labels]
    ours = TorchLogisticRegression(C, device=device).fit(samples, labels)
    theirs = LogisticRegression(C=C, max_iter=5000, tol=1e-10).fit(samples, labels)
    logits = ours.decision_function(samples)
    probabilities = np.exp(logits - logits.max(1, keepdims=True))
    probabilities /= probabilities.sum(1, keepdims=True)
    assert ours.classes_.tolist() == theirs.classes_.tolist()
    assert np.abs(probabilities - theirs.predict_proba(samples)).max() < 1e-3


def test_few_shot_classification_is_the_same_with_both_solvers():
    rng = np.random.default_rng(0)
    train_labels, labels = np.repeat(np.arange(5), 6), np.repeat(np.arange(5), 20)
    centers = rng.normal(size=(5, 1, 8))
    train, test = (centers[kind] + rng.normal(size=(len(kind), 4, 8)) for kind in (train_labels, labels))
    expected = classify_few_shot(train, train_labels, test)
    assert (classify_few_shot(train, train_labels, test, device='cpu') == expected).mean() > .98
    assert .5 < (expected == labels).mean() < 1
    with pytest.raises(ValueError, match='two classes'):
        TorchLogisticRegression().fit(test[:, 0], np.zeros(100, dtype=int))
    with pytest.raises(ValueError, match='C must be > 0'):
        TorchLogisticRegression(0.)
