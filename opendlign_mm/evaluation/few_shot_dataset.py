"""Dataset of a few labeled objects per class, on which the adapters of PointCLIP and CLIP2Point are trained."""
from typing import Any

import numpy as np
from mmdet3d.registry import DATASETS
from torch.utils.data import Dataset

from .few_shot import draw_shots


@DATASETS.register_module()
class FewShotSubset(Dataset):
    """``shots`` objects of each class of a dataset, the same that ``tools/few_shot.py`` draws with the seed.

    Args:
        dataset: A dataset of labeled objects, or its config.
        shots: Number of objects per class; a class with fewer objects gives all it has.
        seed: Seed of the draw.
        lazy_init: Not used.

    Raises:
        ValueError: ``shots`` is below 1, or an object has no label.
    """

    def __init__(self, dataset: dict | Any, shots: int = 16, seed: int = 0, lazy_init: bool = False) -> None:
        self.dataset = DATASETS.build(dataset) if isinstance(dataset, dict) else dataset
        labels = [self.dataset.get_data_info(index).get('gt_label', -1) for index in range(len(self.dataset))]
        if min(labels, default=-1) < 0:
            raise ValueError(f'few-shot classification needs labeled objects, {type(self.dataset).__name__} has some '
                             'without a class')
        self.indices = draw_shots(np.array(labels), shots, seed)

    @property
    def metainfo(self) -> dict:
        """Meta information of the dataset."""
        return self.dataset.metainfo

    def get_data_info(self, index: int) -> dict:
        """Return the record of an object."""
        return self.dataset.get_data_info(int(self.indices[index]))

    def full_init(self) -> None:
        """Do nothing: the dataset has been read."""

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> dict:
        return self.dataset[int(self.indices[index])]
