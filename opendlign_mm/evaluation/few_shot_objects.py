"""Training objects of few-shot classification: their dataset, labels and features (OpenDlign, section 4.2).

``training_set`` builds the dataset of the training objects, and ``extract_draws`` draws the shots of each seed and
encodes them. No object is used for training and for testing: ``check_disjoint`` refuses it, and ``draws_of_test_set``
draws among the test objects, of which each draw is then left out. ``zero_shot_accuracy`` is the baseline without
training objects.
"""
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from mmdet3d.registry import DATASETS
from mmengine.config import Config
from mmengine.dataset import BaseDataset

from ..apis.extract_features import extract_features
from ..datasets.class_names import class_order
from ..models import OpenDlign, TriModalAligner
from .few_shot import TrainingObjects, draw_all

Aligner = OpenDlign | TriModalAligner


def training_set(cfg: Config, changes: dict | None = None) -> BaseDataset:
    """Build the dataset of the training objects, with the pipeline of the test set and each object once.

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
    train = cfg.train_dataloader.dataset
    while isinstance(train.get('dataset'), dict):  # a wrapper such as RepeatDataset
        train = train.dataset
    return DATASETS.build(dict(train, pipeline=test.pipeline))


def labels_in_test_set(train: BaseDataset, test: BaseDataset) -> np.ndarray:
    """Return the labels of the training objects as indices of the classes of the test set.

    Raises:
        ValueError: An object has no class, or the datasets have different classes; the message has the names. The order
            of the classes may differ.
    """
    records = [train.get_data_info(index) for index in range(len(train))] if hasattr(train, 'get_data_info') else []
    if not records or not all('gt_label' in record for record in records):
        raise ValueError(f'the training set ({type(train).__name__}) has objects without a class; give the settings of '
                         'labeled ones with --train, e.g. --train split=train')
    labels = np.array([record['gt_label'] for record in records], dtype=np.int64)
    try:
        order = class_order(train.metainfo.get('classes', ()), test.metainfo.get('classes', ()), 'the training set')
    except ValueError as error:
        raise ValueError(f'{error}; or take both from one dataset with --train, e.g. --train split=train') from error
    return labels if order is None else np.argsort(order)[labels]


def check_disjoint(train: BaseDataset, test: BaseDataset) -> None:
    """Raise ``ValueError``, naming some, if there are objects in both datasets.

    Objects are the same if they have the same ``sample_id``, the same file, or the same place in a file.
    """
    tested = {key for index in range(len(test)) for key in _identities(test.get_data_info(index))}
    records = (train.get_data_info(index) for index in range(len(train)))
    shared = [record['sample_id'] for record in records if not tested.isdisjoint(_identities(record))]
    if shared:
        raise ValueError(f'{len(shared)} of {len(train)} training objects are test objects, too: '
                         f'{", ".join(shared[:5])}{", ..." * (len(shared) > 5)}. Choose another split with --train, or '
                         'use --holdout, which takes the training objects out of the test set')


def _identities(record: dict) -> Iterator[tuple]:
    """Yield everything in a record that identifies its object."""
    yield 'sample_id', record['sample_id']
    for key in ('points_path', 'depth_path'):
        if record.get(key):
            yield key, str(Path(record[key]).resolve()), record.get('points_index')
    if 'shape_seed' in record:  # a built-in shape, whose sample_id also says how it is sampled
        yield 'shape_seed', tuple(record['shape_seed'])


def extract_draws(model: Aligner, dataset: BaseDataset, labels: np.ndarray, shots: Sequence[int], num_seeds: int,
                  **options) -> TrainingObjects:
    """Draw the training objects of each number of shots and each seed, and encode those that some draw needs.

    An unreadable object is replaced by another one of its class. A class with fewer objects than ``shots`` gives all
    it has, which is printed.

    Args:
        model: Model in evaluation mode.
        dataset: Dataset of the training objects.
        labels: int (N,), labels of all its objects, see :func:`labels_in_test_set`.
        shots: Numbers of objects per class.
        num_seeds: Number of draws, with the seeds 0, ..., ``num_seeds`` - 1.
        options: ``batch_size`` and ``num_workers``, see :func:`feature_batches`.

    Raises:
        ValueError: No object of some class can be read.
    """
    smallest = np.bincount(labels)[np.unique(labels)].min()
    if smallest < max(shots):
        print(f'some classes have only {smallest} training objects; they give these where more shots are asked for')
    parts: list[tuple[np.ndarray, np.ndarray]] = []
    skipped: dict[int, str] = {}
    known = np.zeros(0, dtype=np.int64)
    while True:
        lost = np.setdiff1d(labels, np.delete(labels, list(skipped)))
        if len(lost):
            raise ValueError(f'none of the training objects of {len(lost)} classes can be read; the first: '
                             f'{skipped[int(np.flatnonzero(labels == lost[0])[0])]}')
        draws = draw_all(labels, shots, num_seeds, list(skipped))
        wanted = np.setdiff1d(np.concatenate(list(draws.values())), known)
        if not len(wanted):
            break
        part = extract_features(model, dataset, wanted, skipped=skipped, title='training objects', allow_none=True,
                                **options)
        if len(part['indices']):  # otherwise the next round replaces all of them
            parts.append((view_features(model, part), part['indices']))
            known = np.concatenate([indices for _, indices in parts])
    position = {index: row for row, index in enumerate(known)}
    rows = {key: np.array([position[index] for index in chosen]) for key, chosen in draws.items()}
    return TrainingObjects(np.concatenate([features for features, _ in parts]), labels[known], rows, skipped)


def draws_of_test_set(model: Aligner, tested: dict, shots: Sequence[int], num_seeds: int) -> TrainingObjects:
    """Draw the training objects among the test objects; each draw is tested on the objects that it leaves.

    Args:
        model: Model that made the features.
        tested: Result of :func:`extract_features` on the test set.
        shots: Numbers of objects per class.
        num_seeds: Number of draws, with the seeds 0, ..., ``num_seeds`` - 1.

    Raises:
        ValueError: Some class has no object left to test in some draw.
    """
    smallest = np.bincount(tested['labels'])[np.unique(tested['labels'])].min()
    if smallest <= max(shots):
        raise ValueError(f'some class has only {smallest} test objects: of {max(shots)} shots per class none is left '
                         f'to test. Use fewer shots, at most {smallest - 1}')
    return TrainingObjects(view_features(model, tested), tested['labels'],
                           draw_all(tested['labels'], shots, num_seeds), {}, held_out=True)


def view_features(model: Aligner, extracted: dict) -> np.ndarray:
    """Take each view from the branch that zero-shot classification takes it from.

    Args:
        model: Model that made the features.
        extracted: Result of :func:`extract_features`, with N objects.

    Returns:
        float32 (N, V, D).
    """
    features = {name: torch.from_numpy(values) for name, values in extracted['features'].items()}
    return model.view_features(features).numpy()


def zero_shot_accuracy(model: Aligner, extracted: dict, class_names: Sequence[str]) -> float:
    """Return the zero-shot top-1 accuracy in percent.

    Args:
        model: Model that made the features; its vocabulary is set to ``class_names``.
        extracted: Result of :func:`extract_features` on the test objects.
        class_names: Classes of the dataset, which the labels index.
    """
    model.set_vocabulary(class_names)
    features = {name: torch.from_numpy(values) for name, values in extracted['features'].items()}
    with torch.no_grad():
        scores = model.scores_of_features(features)
    return float((scores.argmax(dim=1).numpy() == extracted['labels']).mean() * 100)
