"""Dataset of procedural objects: no download, any number of objects."""
from collections.abc import Sequence

import numpy as np
from mmdet3d.registry import DATASETS
from mmengine.dataset import BaseDataset

from . import categories_of

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
        edition: 2 for 22 categories, further styles of each and stretched proportions; 1 for the 16 categories on which
            the published numbers of the demonstration model rest.
        pipeline: Transforms, as in any dataset of mmengine.

    Raises:
        ValueError: The split, the edition or a category is unknown, a number is outside its range, or ``metainfo`` has
            other classes.
    """

    def __init__(self,
                 split: str = 'train',
                 num_per_category: int = 50,
                 categories: Sequence[str] | None = None,
                 num_points: int = 4000,
                 scan_like: float = 0.,
                 seed: int = 0,
                 edition: int = 1,
                 pipeline: Sequence = (),
                 **kwargs) -> None:
        if split not in SPLITS:
            raise ValueError(f'split must be one of {SPLITS}, got {split!r}')
        self.classes = categories_of(edition)
        unknown = sorted(set(categories or ()) - set(self.classes))
        if unknown:
            raise ValueError(f'unknown categories {unknown}; the built-in ones are {", ".join(self.classes)}')
        if num_per_category < 1 or num_points < 1:
            raise ValueError(f'num_per_category and num_points must be >= 1, got {num_per_category} and {num_points}')
        if not 0 <= scan_like <= 1:
            raise ValueError(f'scan_like must lie in [0, 1], got {scan_like}')
        self.split, self.num_per_category, self.num_points = split, num_per_category, num_points
        self.categories = tuple(categories or self.classes)
        self.scan_like, self.seed, self.edition = float(scan_like), seed, edition
        metainfo = dict(kwargs.pop('metainfo', None) or {})
        if tuple(metainfo.setdefault('classes', self.classes)) != self.classes:
            raise ValueError(f'metainfo.classes must be the {len(self.classes)} categories of edition {edition}; '
                             'choose among them with categories')
        super().__init__(pipeline=list(pipeline), metainfo=metainfo, **kwargs)

    def load_data_list(self) -> list[dict]:
        """Make one record per object."""
        records = []
        for index in range(self.num_per_category):
            for category in self.categories:
                label = self.classes.index(category)
                key = (SPLITS.index(self.split), self.seed, label, index)
                # A generator of its own: whether an object is a scan must not depend on the others.
                scan_like = bool(np.random.default_rng((*key, 1)).random() < self.scan_like)
                name = '-'.join(map(str, (category, self.split, self.seed, index, self.num_points)))
                name += f'-edition{self.edition}' * (self.edition > 1)
                record = dict(sample_id=name + '-scan' * scan_like, category=category, gt_label=label,
                              num_points=self.num_points, scan_like=scan_like, shape_seed=key)
                records.append(record if self.edition == 1 else dict(record, edition=self.edition))
        return records
