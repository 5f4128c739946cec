"""Depth views of random objects, procedural or CAD models: what trains the demonstration CLIP."""
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from ..atomic_files import atomic_write
from ..point_files.shape_files import read_shape
from ..projection import ContourAwareProjection
from . import deformation
from .procedural import categories_of, sample_shape
from .procedural.scan_simulation import floor_remnant, seen_from_one_side
from .sweet_home3d import SweetHome3D

NUM_POINTS = 5000
# The method's ten views, and what random views are drawn from, in degrees.
STANDARD_ANGLES, STANDARD_ELEVATION, ELEVATIONS = tuple(range(30, 330, 30)), 20., (5., 35.)
# Points of a CAD model, of which each copy has some.
POOL = 20_000


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


class ModelPoints(NamedTuple):
    """Points, float16 (M, N, 3), z up, the longest side 1, their colors, uint8, and labels, int64 (M,), of M models."""
    points: np.ndarray
    colors: np.ndarray
    labels: np.ndarray


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
        models: CAD models, with the labels of the edition's categories; each copy of one is deformed.
        copies: Largest number of differently stretched copies of a model.
        most_per_category: Number of copies of all models of a category above which each has fewer.
        deformed: Share of procedural objects that are stretched, tapered and bent, too, in [0, 1].

    Raises:
        ValueError: A number is below 1, or a share is outside [0, 1].
    """

    def __init__(self, num_per_category: int, num_views: int, seed: int, standard: bool = False, resolution: int = 112,
                 edition: int = 1, scan_like: float = 0., models: ModelPoints | None = None, copies: int = 20,
                 most_per_category: int = 300, deformed: float = 0.) -> None:
        if min(num_per_category, num_views, copies, most_per_category) < 1:
            raise ValueError('num_per_category, num_views, copies and most_per_category must be >= 1, got '
                             f'{num_per_category}, {num_views}, {copies} and {most_per_category}')
        if not (0 <= scan_like <= 1 and 0 <= deformed <= 1):
            raise ValueError(f'scan_like and deformed must lie in [0, 1], got {scan_like} and {deformed}')
        self.num_views, self.seed, self.standard = num_views, seed, standard
        self.resolution, self.edition, self.scan_like, self.deformed = resolution, edition, scan_like, deformed
        self.categories = categories_of(edition)
        self.num_procedural = num_per_category * len(self.categories)
        self.models = models
        self.copies = () if models is None else copies_of(models.labels, copies, most_per_category)

    def __len__(self) -> int:
        return self.num_procedural + len(self.copies)

    def __getitem__(self, index: int) -> ViewsOfObject:
        rng = np.random.default_rng((self.seed, index))
        if index < self.num_procedural:
            label = index % len(self.categories)
            # The share of scans is drawn apart, so that without scans the objects stay the same.
            is_scan = self.scan_like > 0 and np.random.default_rng((self.seed, index, 1)).random() < self.scan_like
            shape = sample_shape(self.categories[label], rng, NUM_POINTS, bool(is_scan), self.edition)
            points, colors = shape.points, shape.colors
            if self.deformed and np.random.default_rng((self.seed, index, 2)).random() < self.deformed:
                points = deformation.deformed(points, rng)
        else:
            model = self.copies[index - self.num_procedural]
            label = int(self.models.labels[model])
            points, colors = self._deformed_model(model, rng)
        angles: Sequence[float] = STANDARD_ANGLES if self.standard else rng.uniform(0, 360, self.num_views)
        projection = ContourAwareProjection(
            resolution=self.resolution, depth_bins=32, densify_kernel=5, sigma_space=1., view_angles=angles,
            elevation=STANDARD_ELEVATION if self.standard else rng.uniform(*ELEVATIONS))
        depth = (projection(torch.from_numpy(points)[None])[0] * 255).round().byte().numpy()
        return ViewsOfObject(depth, label, colors[rng.integers(0, len(colors), 2)])

    def _deformed_model(self, model: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Return points float32 (N, 3) and colors of a copy of a CAD model, complete or seen from one side."""
        points, colors = self.models.points[model], self.models.colors[model]
        is_scan = rng.random() < self.scan_like
        count = len(points) if is_scan else min(NUM_POINTS, len(points))
        some = rng.choice(len(points), count, replace=False)
        points, colors = deformation.deformed(points[some].astype(np.float32), rng), colors[some]
        if is_scan:
            chosen, points = seen_from_one_side(points, NUM_POINTS, rng)
            colors = colors[chosen]
            remnant = int(rng.uniform(0, .12) * NUM_POINTS) if rng.random() < .4 else 0
            if remnant:
                points[:remnant] = floor_remnant(points, remnant, rng)
        return points.astype(np.float32), colors


def copies_of(labels: Sequence[int], copies: int, most_per_category: int) -> list[int]:
    """Return the number of each model up to ``copies`` times: fewer where its category would have too many.

    Each model is there at least once, and otherwise a category has ``most_per_category`` copies at most.
    """
    counts = Counter(int(label) for label in labels)
    return [model for model, label in enumerate(labels)
            for _ in range(max(1, min(copies, most_per_category // counts[int(label)])))]


def store_models(models: SweetHome3D, path: Path) -> ModelPoints:
    """Sample points of CAD models and write them to ``path`` (.npz); return them."""
    points, colors, labels = [], [], []
    for index in tqdm(range(len(models)), desc=f'points of models -> {path.name}'):
        info = models.get_data_info(index)
        shape = read_shape(info['points_path'], POOL, index=info['points_index'])
        upright = np.stack([shape.points[:, 0], -shape.points[:, 2], shape.points[:, 1]], axis=1)
        low, high = upright.min(axis=0), upright.max(axis=0)
        centered = (upright - (low + high) / 2) / max((high - low).max(), 1e-9)
        # Ten bits a coordinate are finer than a pixel, and half as large when compressed.
        points.append((centered * 1024).round().astype(np.float16) / 1024)
        colors.append(shape.colors if shape.colors is not None else np.full(upright.shape, 128, np.uint8))
        labels.append(info['gt_label'])
    stored = ModelPoints(np.stack(points), np.stack(colors), np.asarray(labels))
    with atomic_write(path) as unfinished:
        np.savez_compressed(unfinished, **stored._asdict())
    return stored


def read_models(path: Path) -> ModelPoints:
    """Return the points of CAD models that :func:`store_models` has written."""
    with np.load(path) as file:
        return ModelPoints(file['points'], file['colors'], file['labels'])


def _unchanged(views: ViewsOfObject) -> ViewsOfObject:
    return views


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
    if workers:
        views[0]  # The projection is compiled here once, instead of in each process.
    # As arrays: each tensor would keep a file open until all are there.
    loader = DataLoader(views, batch_size=None, num_workers=workers, collate_fn=_unchanged,
                        prefetch_factor=8 if workers else None)
    depth, labels, colors = zip(*tqdm(loader, desc=f'depth views -> {path.name}'), strict=True)
    stored = StoredViews(np.stack(depth), np.asarray(labels), np.stack(colors))
    with atomic_write(path) as unfinished:
        np.savez(unfinished, depth=stored.depth, label=stored.labels, colors=stored.colors)
    return stored
