"""Depth views of random objects, procedural or CAD models: what trains the demonstration CLIP."""
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from ..atomic_files import atomic_write
from ..point_files.shape_files import read_shape
from ..projection import ContourAwareProjection
from .procedural import categories_of, sample_shape
from .procedural.scan_simulation import seen_from_one_side
from .sweet_home3d import SweetHome3D

NUM_POINTS = 5000
# The method's ten views, and what random views are drawn from, in degrees.
STANDARD_ANGLES, STANDARD_ELEVATION, ELEVATIONS = tuple(range(30, 330, 30)), 20., (5., 35.)
# Points of a CAD model, of which each copy has some.
POOL = 60_000
# Factors by which the axes of a CAD model are stretched.
STRETCH = (.8, 1.25)


class ViewsOfObject(NamedTuple):
    """Depth views, uint8 (V, H, H); the label; two colors of the object, uint8 (2, 3)."""
    depth: np.ndarray
    label: int
    colors: np.ndarray


class StoredViews(NamedTuple):
    """Depth views, uint8 (N, V, H, H), labels, int64 (N,), and two colors, uint8 (N, 2, 3), of N objects."""
    depth: np.ndarray
    labels: np.ndarray
    colors: np.ndarray


class RandomViews(Dataset):
    """Dataset of depth views of objects, each made from its own seed.

    Args:
        num_per_category: Number of procedural objects of each category; they come first, all categories in turn.
        num_views: Number of views of an object, V, with random azimuth and elevation.
        seed: Seed of the objects.
        standard: Whether the views are the method's ten instead.
        resolution: Height and width of a view, H.
        edition: Edition of the procedural objects.
        scan_like: Share of objects that are seen from one side, in [0, 1].
        models: CAD models, with the labels of the edition's categories.
        copies: Largest number of differently stretched copies of a model.
        most_per_category: Number of copies of all models of a category above which each has fewer.

    Raises:
        ValueError: A number is below 1, or ``scan_like`` is outside [0, 1].
    """

    def __init__(self, num_per_category: int, num_views: int, seed: int, standard: bool = False, resolution: int = 112,
                 edition: int = 1, scan_like: float = 0., models: SweetHome3D | None = None, copies: int = 20,
                 most_per_category: int = 300) -> None:
        if min(num_per_category, num_views, copies, most_per_category) < 1 or not 0 <= scan_like <= 1:
            raise ValueError('num_per_category, num_views, copies and most_per_category must be >= 1 and scan_like in '
                             f'[0, 1], got {num_per_category}, {num_views}, {copies}, {most_per_category}, {scan_like}')
        self.num_views, self.seed, self.standard = num_views, seed, standard
        self.resolution, self.edition, self.scan_like = resolution, edition, scan_like
        self.categories = categories_of(edition)
        self.num_procedural = num_per_category * len(self.categories)
        self.records = [] if models is None else repeated_records(
            [models.get_data_info(index) for index in range(len(models))], copies, most_per_category)

    def __len__(self) -> int:
        return self.num_procedural + len(self.records)

    def __getitem__(self, index: int) -> ViewsOfObject:
        rng = np.random.default_rng((self.seed, index))
        if index < self.num_procedural:
            label = index % len(self.categories)
            # The share of scans is drawn apart, so that without scans the objects stay the same.
            is_scan = self.scan_like > 0 and np.random.default_rng((self.seed, index, 1)).random() < self.scan_like
            shape = sample_shape(self.categories[label], rng, NUM_POINTS, bool(is_scan), self.edition)
            points, colors = shape.points, shape.colors
        else:
            record = self.records[index - self.num_procedural]
            label = record['gt_label']
            points, colors = self._stretched_model(record, rng)
        angles: Sequence[float] = STANDARD_ANGLES if self.standard else rng.uniform(0, 360, self.num_views)
        projection = ContourAwareProjection(
            resolution=self.resolution, depth_bins=32, densify_kernel=5, sigma_space=1., view_angles=angles,
            elevation=STANDARD_ELEVATION if self.standard else rng.uniform(*ELEVATIONS))
        depth = (projection(torch.from_numpy(points)[None])[0] * 255).round().byte().numpy()
        return ViewsOfObject(depth, label, colors[rng.integers(0, len(colors), 2)])

    def _stretched_model(self, record: dict, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Return points float32 (N, 3), z up, and colors of a copy of a CAD model, complete or seen from one side."""
        points, colors = _model_points(record['points_path'], record['points_index'])
        is_scan = rng.random() < self.scan_like
        some = rng.choice(len(points), NUM_POINTS * (4 if is_scan else 1), replace=False)
        points, colors = points[some] * rng.uniform(*STRETCH, 3), colors[some]
        if is_scan:
            chosen, points = seen_from_one_side(points, NUM_POINTS, rng)
            colors = colors[chosen]
        return points.astype(np.float32), colors


@lru_cache(maxsize=4)
def _model_points(path: str, number: int) -> tuple[np.ndarray, np.ndarray]:
    """Return points of a CAD model, float32 (N, 3), z up, and their colors; copies of a model follow in turn."""
    shape = read_shape(path, POOL, index=number)
    points = np.stack([shape.points[:, 0], -shape.points[:, 2], shape.points[:, 1]], axis=1)
    return points, shape.colors if shape.colors is not None else np.full(points.shape, 128, np.uint8)


def repeated_records(records: Sequence[dict], copies: int, most_per_category: int) -> list[dict]:
    """Return each record up to ``copies`` times: fewer where its category would have more than ``most_per_category``.

    Each record is there at least once.
    """
    counts: dict[int, int] = {}
    for record in records:
        counts[record['gt_label']] = counts.get(record['gt_label'], 0) + 1
    return [record for record in records
            for _ in range(max(1, min(copies, most_per_category // counts[record['gt_label']])))]


def store_views(views: RandomViews, path: Path, workers: int) -> StoredViews:
    """Return the views of all objects, from ``path`` if an earlier run has stored them there.

    The name of the file has to say all that decides about them.

    Args:
        views: The objects.
        path: File to read, or to write (.npz).
        workers: Number of processes that make them; 0 for this one.
    """
    if path.exists():
        with np.load(path) as file:
            return StoredViews(file['depth'], file['label'], file['colors'])
    loader = DataLoader(views, batch_size=None, num_workers=workers)
    depth, labels, colors = zip(*tqdm(loader, desc=f'depth views -> {path.name}'), strict=True)
    stored = StoredViews(np.stack(depth), np.asarray(labels), np.stack(colors))
    with atomic_write(path) as unfinished:
        np.savez(unfinished, depth=stored.depth, label=stored.labels, colors=stored.colors)
    return stored
