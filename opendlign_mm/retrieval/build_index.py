"""Embed the shapes of a dataset or a folder and put them into an index."""
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from mmdet3d.registry import DATASETS
from mmengine.config import Config
from torch import Tensor
from torch.utils.data import Dataset

from ..apis.extract_features import feature_batches
from ..datasets.shape_folder import class_folders
from ..models import OpenDlign, TriModalAligner
from ..models.clip_backbone import BRANCHES
from ..projection import ContourAwareProjection
from ..structures import ShapeDataSample
from ..version import __version__
from .shape_index import ShapeIndex

# Keys of a dataset record that tell which file a shape is from.
PATH_KEYS = ('points_path', 'points_index', 'depth_path')


def shape_folder_dataset(cfg: Config, folder: str | Path, num_points: int | None = 10000,
                         up_axis: Literal['y', 'z'] | None = None) -> dict:
    """Return the config of a dataset of shape files, projected like the test set of ``cfg``.

    Args:
        cfg: Config of the model.
        folder: Folder with one sub-folder per class, see ``ShapeFolder``.
        num_points: Number of points taken of each shape; None takes all.
        up_axis: Upward axis of the files; None for the usual axis of their format.

    Raises:
        FileNotFoundError: The folder does not exist.
        ValueError: It is a file or has no sub-folders, or the test pipeline of ``cfg`` has neither
            ``ProjectPointsToDepth`` nor ``PackPointInputs``.
    """
    if not Path(folder).exists():
        raise FileNotFoundError(f'folder of shapes {folder} does not exist')
    if not class_folders(folder):
        problem = 'has no sub-folders' if Path(folder).is_dir() else 'is a file'
        raise ValueError(f'{folder} {problem}; give a folder with one sub-folder of shape files per class. Shapes '
                         'of a flat folder can be moved into one sub-folder, e.g. "shapes"')
    pipeline = cfg.test_dataloader.dataset.pipeline
    load = dict(type='LoadShapePoints', num_points=num_points)
    project, pack = (_find_transform(pipeline, name) for name in ('ProjectPointsToDepth', 'PackPointInputs'))
    if pack is not None:  # a point encoder: its arrangement of the points follows
        arrange = _find_transform(pipeline, 'ArrangePoints')
        return dict(type='ShapeFolder', data_root=str(folder), up_axis=up_axis,
                    pipeline=[load, *([arrange] if arrange else []), pack])
    if project is None:
        raise ValueError("the config's test pipeline has no ProjectPointsToDepth that says how shapes are projected; "
                         'use a config that tests on points')
    return dict(type='ShapeFolder', data_root=str(folder), up_axis=up_axis,
                pipeline=[load, project, dict(type='PackShapeInputs')])


def _find_transform(node: Any, name: str) -> dict | None:
    """Return the first transform of type ``name`` in a pipeline, also inside others such as ``DiskCache``."""
    if isinstance(node, dict):
        if node.get('type') == name:
            return node
        node = list(node.values())
    found = [_find_transform(child, name) for child in node] if isinstance(node, (list, tuple)) else []
    return next((child for child in found if child is not None), None)


def build_index(model: OpenDlign | TriModalAligner, dataset: dict | Dataset, checkpoint: str | None = None,
                thumbnail_size: int = 96, thumbnail_view: int = 6, skipped: dict[int, str] | None = None,
                **options) -> ShapeIndex:
    """Embed all shapes of a dataset.

    Args:
        model: Model in evaluation mode, with its config as ``model.cfg``, as returned by ``init_model``.
        dataset: Dataset of packed samples, or its config.
        checkpoint: Path of the checkpoint of the model, which the index records.
        thumbnail_size: Longer side of the thumbnails in pixels.
        thumbnail_view: Depth view used as thumbnail; the last one if there are fewer. The default view shows the front
            of shapes that face +y, from the right.
        skipped: Filled with index -> why the shape could not be read.
        options: ``batch_size`` and ``num_workers``, see :func:`feature_batches`.

    Raises:
        ValueError: No shape can be read.
    """
    dataset = DATASETS.build(dataset) if isinstance(dataset, dict) else dataset
    needed = BRANCHES if model.embedding_branches == 'both' else (model.embedding_branches, )
    vectors, thumbnails, shapes = [], [], []
    for batch in feature_batches(model, dataset, branches=needed, skipped=skipped, title='shapes', **options):
        vectors.append(model.pool_views(batch.features).cpu().numpy())
        views = _depth_views(batch.inputs)
        thumbnails.append(_thumbnails(views[:, min(thumbnail_view, views.shape[1] - 1)], thumbnail_size))
        shapes += [_metadata(dataset, index, sample)
                   for index, sample in zip(batch.indices, batch.data_samples, strict=True)]
    if not vectors:
        raise ValueError('the dataset has no shapes')
    about = dict(version=__version__, checkpoint=None if checkpoint is None else str(Path(checkpoint).resolve()),
                 clip=asdict(model.clip_backbone.clip_identity()), branches=model.embedding_branches,
                 dataset=type(dataset).__name__, data_root=str(getattr(dataset, 'data_root', '') or ''))
    return ShapeIndex(np.concatenate(vectors), shapes, np.concatenate(thumbnails), about, model.cfg)


def _depth_views(inputs: dict[str, Any]) -> Tensor:
    """Return the depth views of a batch, made of its points where a point encoder has none."""
    if 'depth_views' in inputs:
        return inputs['depth_views']
    project = ContourAwareProjection(resolution=112, depth_bins=32, densify_kernel=5, sigma_space=1.)
    return torch.cat([project(points[None].cpu()) for points in inputs['points']])


def _thumbnails(views: Tensor, size: int) -> np.ndarray:
    """Shrink views, float (B, H, W) in [0, 1], to uint8 (B, h, w); small ones are not enlarged."""
    factor = min(1., size / max(views.shape[-2:]))
    shape = [max(1, round(factor * pixels)) for pixels in views.shape[-2:]]
    small = F.interpolate(views[:, None], shape, mode='bilinear', antialias=True, align_corners=False)[:, 0]
    return (small.clamp(0, 1) * 255).round().to(torch.uint8).cpu().numpy()


def _metadata(dataset: Dataset, index: int, sample: ShapeDataSample) -> dict:
    """Return what the index keeps of a shape: its identifier, its class, and its file."""
    about = {key: sample.get(key) for key in ('sample_id', 'category') if key in sample}
    record = dataset.get_data_info(index) if hasattr(dataset, 'get_data_info') else {}
    return {**about, **{key: record[key] for key in PATH_KEYS if key in record}}
