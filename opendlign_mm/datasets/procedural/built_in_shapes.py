"""Dataset of procedural objects: no download, any number of objects."""
from collections.abc import Sequence

import numpy as np
from mmdet3d.registry import DATASETS
from mmengine.dataset import BaseDataset

from . import CATEGORIES

SPLITS = ('train', 'val', 'test')


@DATASETS.register_module()
class BuiltInShapes(BaseDataset):
    """Dataset of random objects of the built-in categories, each made from its own seed.

    A record has ``gt_label``, ``category``, ``sample_id``, which is the same for the same object and sampling, and the
    values from which :class:`LoadBuiltInShape` makes the points. That transform has to be the first, inside a
    ``DiskCache`` if there is one.

    Args:
        split: Split, 'train', 'val' or 'test'; no object is in two of them.
        num_per_category: Number of objects of each category.
        categories: Categories of the objects; all by default. The classes, and thus the labels, are always those of
            all categories, so a model trained without some categories can be tested on them.
        num_points: Number of points N of an object.
        scan_like: Share of objects that are seen from one side, as by a depth camera, in [0, 1]; may be a boolean.
        seed: Seed of all objects; another seed gives other objects.
        pipeline: Transforms, as in any dataset of mmengine.

    Raises:
        ValueError: The split or a category is unknown, or a number is outside its range.
    """

    METAINFO = dict(classes=CATEGORIES)

    def __init__(self,
                 split: str = 'train',
                 num_per_category: int = 50,
                 categories: Sequence[str] | None = None,
                 num_points: int = 4000,
                 scan_like: float = 0.,
                 seed: int = 0,
                 pipeline: Sequence = (),
                 **kwargs) -> None:
        if split not in SPLITS:
            raise ValueError(f'split must be one of {SPLITS}, got {split!r}')
        unknown = sorted(set(categories or ()) - set(CATEGORIES))
        if unknown:
            raise ValueError(f'unknown categories {unknown}; the built-in ones are {", ".join(CATEGORIES)}')
        if num_per_category < 1 or num_points < 1:
            raise ValueError(f'num_per_category and num_points must be >= 1, got {num_per_category} and {num_points}')
        if not 0 <= scan_like <= 1:
            raise ValueError(f'scan_like must lie in [0, 1], got {scan_like}')
        self.split, self.num_per_category, self.num_points = split, num_per_category, num_points
        self.categories = tuple(categories or CATEGORIES)
        self.scan_like, self.seed = float(scan_like), seed
        super().__init__(pipeline=list(pipeline), **kwargs)

    def load_data_list(self) -> list[dict]:
        """Make one record per object."""
        records = []
        for index in range(self.num_per_category):
            for category in self.categories:
                label = CATEGORIES.index(category)
                key = (SPLITS.index(self.split), self.seed, label, index)
                # A generator of its own: whether an object is a scan must not depend on the others.
                scan_like = bool(np.random.default_rng((*key, 1)).random() < self.scan_like)
                name = '-'.join(map(str, (category, self.split, self.seed, index, self.num_points)))
                records.append(dict(sample_id=name + '-scan' * scan_like, category=category, gt_label=label,
                                    num_points=self.num_points, scan_like=scan_like, shape_seed=key))
        return records
