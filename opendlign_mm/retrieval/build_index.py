"""Embed the shapes of a dataset or a folder and put them into an index."""
import hashlib
import json
import shutil
from collections.abc import Iterator
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
from ..apis.sharded_run import ShardedResult, identity_of_input, read_parts, run_sharded
from ..datasets.shape_folder import class_folders
from ..models import OpenDlign, TriModalAligner
from ..models.image_branches import BRANCHES
from ..processes import on_first_process
from ..projection import ContourAwareProjection
from ..structures import ShapeDataSample
from ..version import __version__
from . import index_files
from .shape_index import ShapeIndex, write_folder
from .vectors import normalized_blocks

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
    """Embed all shapes of a dataset in memory; :func:`write_index` is for more than fit there.

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
    rows = list(_embedded(model, dataset, thumbnail_size, thumbnail_view, skipped=skipped, title='shapes', **options))
    if not rows:
        raise ValueError('the dataset has no shapes')
    _, vectors, thumbnails, shapes = zip(*rows, strict=True)
    return ShapeIndex(np.stack(vectors), list(shapes), np.stack(thumbnails), _about(model, dataset, checkpoint),
                      model.cfg)


def write_index(model: OpenDlign | TriModalAligner, dataset: dict | Dataset, folder: str | Path,
                checkpoint: str | None = None, thumbnail_size: int = 96, thumbnail_view: int = 6, batch_size: int = 32,
                num_workers: int = 0, shard_size: int | None = None, settings: dict | None = None) -> ShardedResult:
    """Embed all shapes of a dataset, by all processes of a launcher, and write their index.

    The embeddings are kept in a hidden folder next to ``folder`` until the index is complete; a run that is stopped
    goes on from there.

    Args:
        model: Model in evaluation mode, with its config as ``model.cfg``, as returned by ``init_model``.
        dataset: Dataset of packed samples, or its config.
        folder: Folder of the index.
        checkpoint: Path of the checkpoint of the model, which the index records.
        thumbnail_size: Longer side of the thumbnails in pixels.
        thumbnail_view: Depth view used as thumbnail; the last one if there are fewer.
        batch_size: Number of shapes embedded at a time.
        num_workers: Number of processes that read shapes, for each process of the launcher.
        shard_size: Number of shapes embedded between two files, see :func:`run_sharded`.
        settings: What else determines the embeddings, as JSON values: with a dataset that is built, its config.

    Returns:
        Where the index is, the number of shapes in the dataset, and those that could not be read.

    Raises:
        ValueError: No shape can be read, or ``folder`` is not an index.
    """
    import pyarrow as pa
    if isinstance(dataset, dict):
        settings, dataset = dict(settings or {}, dataset_config=dataset), DATASETS.build(dataset)
    folder, about = Path(folder).resolve(), _about(model, dataset, checkpoint)
    parts = folder.with_name(f'.{folder.name}.embeddings')

    def embed(numbers: list[int]) -> list[dict]:
        skipped: dict[int, str] = {}
        rows = {number: dict(vector=vector, thumbnail=image.tobytes(), size=image.shape, shape=json.dumps(shape))
                for number, vector, image, shape in _embedded(
                    model, dataset, thumbnail_size, thumbnail_view, indices=numbers, skipped=skipped, title='',
                    batch_size=batch_size, num_workers=num_workers, allow_none=True)}
        return [rows.get(number) or dict(error=skipped[number]) for number in numbers]

    result = run_sharded(
        range(len(dataset)), embed, parts, pa.schema([
            ('vector', pa.list_(pa.float32())), ('thumbnail', pa.binary()), ('size', pa.list_(pa.int32())),
            ('shape', pa.string())]),
        dict(about, config=index_files.config_as_json(model.cfg), thumbnail=[thumbnail_size, thumbnail_view],
             more=json.dumps(settings, default=str)),
        shard_size, lambda number: _identity(dataset, number), 'shapes', overwrite=True)
    result.folder = folder
    on_first_process(lambda: _assemble(parts, folder, about, model.cfg, result))
    return result


def _assemble(parts: Path, folder: Path, about: dict, config: Config, result: ShardedResult) -> None:
    """Turn the Parquet files of the embeddings into an index, one file at a time, and remove them."""
    def rows(*columns: str) -> Iterator[list[dict]]:
        for part in read_parts(parts, [*columns, 'error']):
            yield [row for row in part.to_pylist() if row['error'] is None]

    count = result.num_inputs - len(result.failed)
    if not count:
        shutil.rmtree(parts)
        raise ValueError(f'none of the {result.num_inputs} shapes can be read; the first: {result.failed[0][1]}')
    first = next(row for part in rows('vector', 'shape') for row in part)
    vectors = (np.array([row['vector'] for row in part], np.float32) for part in rows('vector') if part)
    write_folder(folder, normalized_blocks(vectors, lambda row: f'number {row}'), (count, len(first['vector'])),
                 (json.loads(row['shape']) for part in rows('shape') for row in part),
                 (np.frombuffer(row['thumbnail'], np.uint8).reshape(row['size'])
                  for part in rows('thumbnail', 'size') for row in part), about, config)
    shutil.rmtree(parts)


def _embedded(model: OpenDlign | TriModalAligner, dataset: Dataset, thumbnail_size: int, thumbnail_view: int, **options
              ) -> Iterator[tuple[int, np.ndarray, np.ndarray, dict]]:
    """Yield of each readable shape its number, its vector (D,), its thumbnail (h, w) and its metadata."""
    needed = BRANCHES if model.embedding_branches == 'both' else (model.embedding_branches, )
    for batch in feature_batches(model, dataset, branches=needed, **options):
        views = _depth_views(batch.inputs)
        views = views[:, min(thumbnail_view, views.shape[1] - 1)]
        for number, vector, thumbnail, sample in zip(
                batch.indices, model.pool_views(batch.features).cpu().numpy(), _thumbnails(views, thumbnail_size),
                batch.data_samples, strict=True):
            yield number, vector, thumbnail, _metadata(dataset, number, sample)


def _about(model: OpenDlign | TriModalAligner, dataset: Dataset, checkpoint: str | None) -> dict:
    return dict(version=__version__, checkpoint=None if checkpoint is None else str(Path(checkpoint).resolve()),
                clip=asdict(model.clip_backbone.clip_identity()), weights=digest_of_weights(model),
                branches=model.embedding_branches,
                dataset=type(dataset).__name__, data_root=str(getattr(dataset, 'data_root', '') or ''))


def digest_of_weights(model: OpenDlign | TriModalAligner) -> str:
    """Return a hash of the trained weights of a model; those of its CLIP have their own, ``clip_identity``."""
    digest = hashlib.sha256()
    for name, values in sorted(model.state_dict().items()):
        digest.update(name.encode())
        digest.update(values.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _identity(dataset: Dataset, number: int) -> Any:
    """Return what tells whether a shape has changed: its record, with size and time of its files."""
    record = dataset.get_data_info(number) if hasattr(dataset, 'get_data_info') else {}
    return [number, *(identity_of_input(value) if isinstance(value, str) else value for key, value in record.items()
                      if isinstance(value, str | int))]


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
