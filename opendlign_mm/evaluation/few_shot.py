"""Few-shot classification: logistic regression on view features (OpenDlign, section 4.2).

From a config to an accuracy: ``training_set`` builds the dataset of the training objects, ``extract_draws`` draws the
shots of each seed and encodes them, ``classify_few_shot`` fits the classifier and ``summarize`` averages over the
seeds. ``zero_shot_accuracy`` is the baseline without training objects.
"""
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from mmdet3d.registry import DATASETS
from mmengine.config import Config
from mmengine.dataset import BaseDataset
from sklearn.linear_model import LogisticRegression

from ..apis.extract_features import extract_features
from ..models import OpenDlign
from ..models.zero_shot_head import select_views


@dataclass(frozen=True)
class FewShotResult:
    """Top-1 accuracy in percent of one draw of ``shots`` objects per class."""
    shots: int
    seed: int
    top1: float


class TrainingObjects(NamedTuple):
    """Training objects that at least one draw needs.

    Attributes:
        features: float32 (N, V, D), view features.
        labels: int (N,).
        draws: (shots, seed) -> int array, rows of ``features``.
        skipped: index in the dataset -> why the object cannot be read.
    """
    features: np.ndarray
    labels: np.ndarray
    draws: dict[tuple[int, int], np.ndarray]
    skipped: dict[int, str]


def training_set(cfg: Config, changes: dict | None = None) -> BaseDataset:
    """Build the dataset of the training objects, with the pipeline of the test set.

    Args:
        cfg: Config of a model with ``test_dataloader`` and, unless ``changes`` are given, ``train_dataloader``.
        changes: Settings that turn the test set into the training set, e.g. ``{'split': 'train'}``.

    Raises:
        ValueError: There are no ``changes``, and the config has no ``train_dataloader``.
    """
    test = cfg.test_dataloader.dataset
    if changes:
        settings = Config(dict(dataset=test.to_dict()))
        settings.merge_from_dict({f'dataset.{key}': value for key, value in changes.items()})
        return DATASETS.build(settings.dataset)
    if cfg.get('train_dataloader') is None:
        raise ValueError('the config has no train_dataloader; give the settings of the training objects with --train, '
                         'e.g. --train split=train')
    return DATASETS.build(dict(cfg.train_dataloader.dataset, pipeline=test.pipeline))


def check_classes(train: BaseDataset, test: BaseDataset) -> None:
    """Raise ``ValueError`` unless both datasets have the same classes in the same order."""
    names = [tuple(dataset.metainfo.get('classes', ())) for dataset in (train, test)]
    if names[0] != names[1]:
        differing = sorted(set(names[0]) ^ set(names[1]))[:5] or ['the order']
        raise ValueError(f'the training set and the test set have different classes ({", ".join(differing)}, ...); '
                         'take both from one dataset with --train, e.g. --train split=train')


def draw_shots(labels: np.ndarray, shots: int, seed: int, left_out: Sequence[int] = ()) -> np.ndarray:
    """Choose objects of each class at random.

    With one seed, the objects of fewer shots are among those of more shots.

    Args:
        labels: int (N,).
        shots: Number of objects per class; a class with fewer objects gives all it has.
        seed: Seed of the choice.
        left_out: Indices that must not be chosen.

    Returns:
        int, indices in ascending order.

    Raises:
        ValueError: ``shots`` is below 1.
    """
    if shots < 1:
        raise ValueError(f'the number of shots must be >= 1, got {shots}')
    allowed = np.ones(len(labels), dtype=bool)
    allowed[list(left_out)] = False
    chosen = []
    for label in np.unique(labels):
        # One generator per class: the choice in a class must not depend on the other classes.
        order = np.random.default_rng((seed, int(label))).permutation(np.flatnonzero(labels == label))
        chosen.append(order[allowed[order]][:shots])
    return np.sort(np.concatenate(chosen)) if chosen else np.zeros(0, dtype=np.int64)


def extract_draws(model: OpenDlign, dataset: BaseDataset, shots: Sequence[int], num_seeds: int,
                  **options) -> TrainingObjects:
    """Draw the training objects of each number of shots and each seed, and encode those that some draw needs.

    An unreadable object is replaced by another one of its class. A class with fewer objects than ``shots`` gives all
    it has, which is printed.

    Args:
        model: Model in evaluation mode.
        dataset: Dataset of the training objects.
        shots: Numbers of objects per class.
        num_seeds: Number of draws, with the seeds 0, ..., ``num_seeds`` - 1.
        options: ``batch_size`` and ``num_workers``, see :func:`feature_batches`.
    """
    labels = np.array([dataset.get_data_info(index)['gt_label'] for index in range(len(dataset))])
    smallest = np.bincount(labels)[np.unique(labels)].min()
    if smallest < max(shots):
        print(f'some classes have only {smallest} training objects; they give these where more shots are asked for')
    parts: list[tuple[np.ndarray, np.ndarray]] = []
    skipped: dict[int, str] = {}
    known = np.zeros(0, dtype=np.int64)
    while True:
        draws = {(number, seed): draw_shots(labels, number, seed, list(skipped))
                 for number in sorted(set(shots)) for seed in range(num_seeds)}
        wanted = np.setdiff1d(np.concatenate(list(draws.values())), known)
        if not len(wanted):
            break
        part = extract_features(model, dataset, wanted, skipped=skipped, title='training objects', **options)
        parts.append((view_features(model, part), part['indices']))
        known = np.concatenate([indices for _, indices in parts])
    position = {index: row for row, index in enumerate(known)}
    rows = {key: np.array([position[index] for index in chosen]) for key, chosen in draws.items()}
    return TrainingObjects(np.concatenate([features for features, _ in parts]), labels[known], rows, skipped)


def view_features(model: OpenDlign, extracted: dict) -> np.ndarray:
    """Take each view from the branch that zero-shot classification takes it from.

    Args:
        model: Model that made the features.
        extracted: Result of :func:`extract_features`, with N objects.

    Returns:
        float32 (N, V, D).
    """
    features = {name: torch.from_numpy(values) for name, values in extracted['features'].items()}
    return select_views(features.get('pretrained'), features.get('tuned'), model.embedding_branches).numpy()


def classify_few_shot(train: np.ndarray, train_labels: np.ndarray, test: np.ndarray, C: float = 1.,
                      max_iter: int = 1000) -> np.ndarray:
    """Fit scikit-learn's ``LogisticRegression`` on single views and sum its logits over the views of an object.

    Args:
        train: float (N, V, D), view features; each view is one training sample.
        train_labels: int (N,), of at least two classes.
        test: float (M, V, D).
        C: Inverse strength of the regularization.
        max_iter: Maximum number of iterations of the solver.

    Returns:
        int (M,), the class with the largest sum of logits.

    Raises:
        ValueError: There is only one class.
    """
    num_views = train.shape[1]
    classifier = LogisticRegression(C=C, max_iter=max_iter)
    if len(np.unique(train_labels)) < 2:
        raise ValueError('few-shot classification needs objects of at least two classes')
    classifier.fit(train.reshape(-1, train.shape[-1]), np.repeat(train_labels, num_views))
    logits = classifier.decision_function(test.reshape(-1, test.shape[-1])).reshape(len(test), test.shape[1], -1)
    logits = logits.sum(axis=1)
    if logits.shape[1] == 1:  # for two classes scikit-learn returns only the logit of the second
        logits = np.concatenate([-logits, logits], axis=1)
    return classifier.classes_[logits.argmax(axis=1)]


def zero_shot_accuracy(model: OpenDlign, extracted: dict, class_names: Sequence[str]) -> float:
    """Return the zero-shot top-1 accuracy in percent.

    Args:
        model: Model that made the features; its vocabulary is set to ``class_names``.
        extracted: Result of :func:`extract_features` on the test objects.
        class_names: Classes of the dataset, which the labels index.
    """
    model.set_vocabulary(class_names)
    features = {name: torch.from_numpy(values) for name, values in extracted['features'].items()}
    with torch.no_grad():
        scores = model.zero_shot_head.scores(model.class_features(), **features,
                                             clip_logit_scale=model.backbone.logit_scale.float().exp())
    return float((scores.argmax(dim=1).numpy() == extracted['labels']).mean() * 100)


def summarize(results: Sequence[FewShotResult]) -> list[dict]:
    """Return ``shots``, ``mean``, ``std`` and ``seeds`` (their number) for each number of shots.

    ``std`` is the sample standard deviation over the seeds (n - 1), None for a single seed.
    """
    rows = []
    for shots in sorted({result.shots for result in results}):
        values = [result.top1 for result in results if result.shots == shots]
        deviation: float | None = float(np.std(values, ddof=1)) if len(values) > 1 else None
        rows.append(dict(shots=shots, mean=float(np.mean(values)), std=deviation, seeds=len(values)))
    return rows
