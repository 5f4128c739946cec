"""Names of classes: ScanNet's and their words in prompts, and the order of those that predictions index."""
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from mmengine.evaluator import BaseMetric

from .shape_dataset import spoken

# ScanNet's 18 detection classes in mmdet3d's order and spelling, and their NYU40 ids; a label is an index of the list.
SCANNET_CLASSES = ('cabinet', 'bed', 'chair', 'sofa', 'table', 'door', 'window', 'bookshelf', 'picture', 'counter',
                   'desk', 'curtain', 'refrigerator', 'showercurtrain', 'toilet', 'sink', 'bathtub', 'garbagebin')
SCANNET_NYU40_IDS = (3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 14, 16, 24, 28, 33, 34, 36, 39)
SCANNET18_NYU40_IDS = dict(zip(SCANNET_CLASSES, SCANNET_NYU40_IDS, strict=True))
# OV-3DET's 20 classes (OpenDlign, table 9), in the order of the table.
OV3DET_NYU40_IDS = dict(
    toilet=33, bed=4, chair=5, sofa=6, dresser=17, table=7, cabinet=3, bookshelf=10, pillow=18, sink=34, bathtub=36,
    refrigerator=24, desk=14, nightstand=32, counter=12, door=8, curtain=16, box=29, lamp=35, bag=37)
CLASS_SETS = dict(scannet18=SCANNET18_NYU40_IDS, ov3det20=OV3DET_NYU40_IDS)
# Texts that compete with the classes for a box but give no detections; those of OV-3DET's released code.
BACKGROUNDS = dict(ov3det=('ground', 'wall', 'floor', 'an unclear image', 'background',
                           'there is no object in this image'))
# Words that a text encoder knows, for ScanNet's spellings.
SCANNET_WORDING = dict(showercurtrain='shower curtain', garbagebin='garbage bin')


def vocabulary_of(class_names: Sequence[str], wording: dict[str, str] | None = None) -> tuple[str, ...]:
    """Return class names as prompts should say them.

    Args:
        class_names: Names of the dataset.
        wording: Other words for some names; those of ScanNet by default.
    """
    wording = SCANNET_WORDING if wording is None else wording
    return tuple(wording.get(name, name) for name in class_names)


def class_order(predicted: Sequence[str], wanted: Sequence[str], whose: str = 'the model') -> np.ndarray | None:
    """Return where each class of a dataset is among the classes that predictions index.

    Underscores and spaces in names are the same, and so are ScanNet's spellings and their wording in prompts.

    Args:
        predicted: Names of the C classes of the predictions.
        wanted: Names of the C classes of the dataset.
        whose: Owner of ``predicted``, for the message.

    Returns:
        int (C,), for each name of ``wanted`` its index in ``predicted``; None if the order is the same.

    Raises:
        ValueError: The names differ; the message has those that only one of both has.
    """
    if tuple(predicted) == tuple(wanted):
        return None
    ours, theirs = ([spoken(name) for name in vocabulary_of(names)] for names in (predicted, wanted))
    for names, owner in ((ours, whose), (theirs, 'the dataset')):
        if len(set(names)) < len(names):
            twice = next(name for name in names if names.count(name) > 1)
            raise ValueError(f"{owner} has the class '{twice}' twice")
    if set(ours) != set(theirs):
        raise ValueError(f'{whose} and the dataset have different classes: {_only(ours, theirs, f"only {whose} has")}; '
                         f'{_only(theirs, ours, "only the dataset has")}. Set the vocabulary of the model to the '
                         'classes of the dataset')
    if ours == theirs:
        return None
    position = {name: index for index, name in enumerate(ours)}
    return np.array([position[name] for name in theirs], dtype=np.int64)


def class_order_of(metric: BaseMetric, sample: Mapping[str, Any]) -> np.ndarray | None:
    """Return :func:`class_order` for a predicted sample and the dataset of a metric.

    Args:
        metric: Metric whose ``dataset_meta`` has ``classes`` and, where the model was given other words for them, these
            as ``vocabulary``.
        sample: Predictions with the ``class_names`` that they index. Without names the order counts as the same.
    """
    meta = metric.dataset_meta or {}
    wanted, predicted = meta.get('vocabulary') or meta.get('classes'), sample.get('class_names')
    return None if predicted is None or not wanted else _cached_class_order(tuple(predicted), tuple(wanted))


@lru_cache(maxsize=8)
def _cached_class_order(predicted: tuple[str, ...], wanted: tuple[str, ...]) -> np.ndarray | None:
    return class_order(predicted, wanted)


def _only(names: Sequence[str], others: Sequence[str], who: str) -> str:
    """Describe the names that ``others`` do not have, at most five."""
    found = [name for name in names if name not in set(others)]
    return f'{who} {", ".join(found[:5]) or "none"}' + ', ...' * (len(found) > 5)
