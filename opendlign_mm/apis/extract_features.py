"""Extract features of whole datasets, for few-shot classification and retrieval."""
from collections.abc import Iterator, Sequence
from copy import copy
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Any

import numpy as np
import torch
from mmdet3d.registry import DATASETS
from mmengine.dataset import BaseDataset
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Subset
from tqdm import tqdm

from ..datasets.collate import collate_shapes
from ..datasets.unreadable import UnreadableRecords, collate_readable
from ..models import OpenDlign, TriModalAligner
from ..structures import ShapeDataSample


@dataclass
class FeatureBatch:
    """Features of B objects, with what they were computed from and annotations.

    Attributes:
        features: branch -> float32 (B, V, D), each view L2-normalized, on the device of the model. A point encoder has
            one view.
        inputs: The preprocessed batch: ``depth_views`` float32 (B, V, H, W) in [0, 1] or ``points``, on the device of
            the model.
        data_samples: B samples with ``gt_label`` and meta information, if the dataset has them.
        indices: B indices in the dataset.
    """
    features: dict[str, Tensor]
    inputs: dict[str, Any]
    data_samples: list[ShapeDataSample]
    indices: list[int]


def feature_batches(model: OpenDlign | TriModalAligner, dataset: dict | Dataset, indices: Sequence[int] | None = None,
                    branches: Sequence[str] | None = None, batch_size: int = 32, num_workers: int = 0,
                    skipped: dict[int, str] | None = None, title: str = 'features', allow_none: bool = False
                    ) -> Iterator[FeatureBatch]:
    """Encode the shapes of a dataset batch by batch, with a progress bar.

    Unreadable objects are skipped and listed.

    Args:
        model: Model in evaluation mode.
        dataset: Dataset of packed samples (:class:`PackShapeInputs`, :class:`PackPointInputs`), or its config.
        indices: Indices of the objects to encode; all by default.
        branches: ``'pretrained'``, ``'tuned'``; by default all that the model has.
        batch_size: Number of objects in a batch.
        num_workers: Number of processes that read objects.
        skipped: Filled with index -> why the object could not be read.
        title: Title of the progress bar; none is shown if it is empty.
        allow_none: Whether it is no error if none of the objects can be read.

    Raises:
        ValueError: There are objects, but none can be read; the message has the reason of the first.
    """
    objects: Any = DATASETS.build(dataset) if isinstance(dataset, dict) else dataset
    if isinstance(objects, BaseDataset):
        objects = copy(objects)
        objects.test_mode = True  # in training, a dataset may put another object in the place of an unreadable one
    chosen = list(range(len(objects))) if indices is None else [int(index) for index in indices]
    skipped = {} if skipped is None else skipped
    branches = tuple(branches or model.branches)
    loader = DataLoader(Subset(UnreadableRecords(objects), chosen), batch_size, num_workers=num_workers,
                        collate_fn=partial(collate_readable, collate=collate_shapes))
    remaining, num_readable = iter(chosen), 0
    with tqdm(total=len(chosen), desc=title, unit='shape', leave=False, disable=not title) as progress:
        for batch in loader:
            progress.update(batch['size'])
            indices_of_batch = list(islice(remaining, batch['size']))
            unreadable = batch['unreadable']
            skipped.update({indices_of_batch[place]: record.reason for place, record in unreadable.items()})
            readable = [index for place, index in enumerate(indices_of_batch) if place not in unreadable]
            num_readable += len(readable)
            if not readable:
                continue
            packed = model.data_preprocessor(batch['batch'])
            with torch.no_grad():
                features = model.encode_inputs(packed['inputs'], branches)
            yield FeatureBatch(features, packed['inputs'], packed['data_samples'], readable)
    if chosen and not num_readable and not allow_none:
        raise ValueError(f'none of the {len(chosen)} shapes can be read; the first: {skipped[chosen[0]]}')


def extract_features(model: OpenDlign | TriModalAligner, dataset: dict | Dataset, indices: Sequence[int] | None = None,
                     **options) -> dict:
    """Return the features of a dataset in memory.

    Args:
        model: Model in evaluation mode.
        dataset: Dataset of packed samples, or its config.
        indices: Indices of the objects to encode; all by default.
        options: Other arguments of :func:`feature_batches`.

    Returns:
        ``features``: branch -> float32 array (N, V, D); ``labels``: int64 array (N,), -1 if an object has none;
        ``sample_ids`` and ``categories``: lists of N strings, empty if an object has none; ``indices``: int64 array
        (N,), indices in the dataset; ``skipped``: index -> why the object could not be read.
    """
    skipped = options.pop('skipped', {})
    batches = [(({name: values.cpu().numpy() for name, values in batch.features.items()}), batch.data_samples,
                batch.indices) for batch in feature_batches(model, dataset, indices, skipped=skipped, **options)]
    samples = [sample for _, group, _ in batches for sample in group]
    names = batches[0][0] if batches else ()
    return dict(
        features={name: np.concatenate([features[name] for features, _, _ in batches]) for name in names},
        labels=np.array([int(sample.gt_label) if 'gt_label' in sample else -1 for sample in samples], dtype=np.int64),
        sample_ids=[sample.get('sample_id', '') for sample in samples],
        categories=[sample.get('category', '') for sample in samples],
        indices=np.array([index for _, _, group in batches for index in group], dtype=np.int64),
        skipped=skipped)


def describe_skipped(skipped: dict[int, str], most: int = 10) -> str:
    """One line for each object that could not be read, at most ``most``; empty if there is none."""
    if not skipped:
        return ''
    lines = [f'shapes that cannot be read and are left out: {len(skipped)}', *list(skipped.values())[:most]]
    return '\n  '.join(lines + ['...'] * (len(skipped) > most))
