"""OpenShape's batches of hard negatives: groups of a shape and its neighbors, for the second stage of its training."""
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from mmdet3d.registry import DATASETS
from mmengine.registry import FUNCTIONS
from torch.utils.data import Dataset

from ..point_files.array_files import load_npy
from .collate import collate_shapes


@DATASETS.register_module()
class NeighborGroups(Dataset):
    """Groups of similar shapes: one at random and ``group_size`` - 1 of its nearest neighbors (OpenShape, section 3.3).

    A batch of such groups, collated by ``collate_groups``, suits ``TriModalContrastiveHead(negatives_per_group=...)``.
    The length is that of the dataset divided by ``group_size``, so that an epoch takes as many shapes.

    Args:
        dataset: A dataset of shapes or its config, such as :class:`OpenShapeTriplets`. The id of a shape is what
            follows the first '/' in its ``sample_id``.
        neighbors_file: .npy file of a dict: ``name``, ids of shapes, and ``index``, id -> int array (K, ), rows of
            ``name`` from the nearest, the first of which is the shape itself. OpenShape publishes one, made with its
            SparseConv model (meta_data/point_feat_knn.npy).
        group_size: Shapes of a group.
        num_neighbors: Nearest neighbors among which is drawn.

    Raises:
        FileNotFoundError: The file is missing.
        ValueError: It is not such a file, or no shape has ``group_size`` - 1 neighbors in the dataset.
    """

    def __init__(self, dataset: dict | Dataset, neighbors_file: str | Path, group_size: int = 5,
                 num_neighbors: int = 31) -> None:
        if not 2 <= group_size <= num_neighbors + 1:
            raise ValueError(f'group_size must be from 2 to num_neighbors + 1 = {num_neighbors + 1}, got {group_size}')
        self.dataset: Any = DATASETS.build(dataset) if isinstance(dataset, dict) else dataset
        self.group_size, self.metainfo = group_size, self.dataset.metainfo
        if not Path(neighbors_file).is_file():
            raise FileNotFoundError(f'there is no file of neighbors at {neighbors_file}; it is part of meta_data.zip, '
                                    'which OpenShape publishes')
        try:
            content = load_npy(neighbors_file).item()
            names, index = [str(name) for name in content['name']], content['index']
            row_of = {self.dataset.get_data_info(row)['sample_id'].partition('/')[2]: row
                      for row in range(len(self.dataset))}
            self.groups = {}
            for identifier, row in row_of.items():
                near = [names[int(other)] for other in np.asarray(index.get(identifier, ()))[1:num_neighbors + 1]]
                rows = [row_of[name] for name in near if name in row_of and row_of[name] != row]
                if len(rows) >= group_size - 1:
                    self.groups[row] = np.array(rows)
        except (AttributeError, IndexError, KeyError, TypeError, ValueError, EOFError) as error:
            raise ValueError(f"{neighbors_file} is not a dict of 'name' and 'index': {error}") from error
        if not self.groups:
            raise ValueError(f'none of the {len(row_of)} shapes has {group_size - 1} neighbors in {neighbors_file}')
        self.first = np.array(sorted(self.groups))

    def __len__(self) -> int:
        """Return the number of groups in an epoch."""
        return max(1, len(self.dataset) // self.group_size)

    def __getitem__(self, index: int) -> list[Any]:
        """Return the samples of a group; which one depends on NumPy's global generator, not on ``index``."""
        first = int(np.random.choice(self.first))
        chosen = np.random.choice(self.groups[first], self.group_size - 1, replace=False)
        return [self.dataset[row] for row in (first, *map(int, chosen))]


@FUNCTIONS.register_module()
def collate_groups(groups: Sequence[Sequence[dict]]) -> dict[str, Any]:
    """Collate groups of samples one after the other; see :func:`collate_shapes`."""
    return collate_shapes([sample for group in groups for sample in group])
