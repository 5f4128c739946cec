"""The depth stage: project point clouds or meshes to depth views, and render meshes, shard by shard."""
import json
import os
from pathlib import Path

import numpy as np
import torch
from mmdet3d.registry import DATASETS
from mmengine.dataset import BaseDataset
from torch.utils.data import DataLoader, Dataset, Subset

from ..datasets.shape_dataset import spoken
from ..datasets.store import PackedShape, ShapeStore, encode_image
from ..datasets.store.description import Layout
from ..datasets.store.manifest import Row, problem_row
from ..datasets.store.packed_shape import ImageFormat
from ..datasets.unreadable import Unreadable, UnreadableRecords
from ..file_keys import readable_text
from ..point_files.mesh_references import files_of_mesh
from ..processes import (
    of_all_processes,
    on_first_process,
    only_run,
    own_share,
    progress,
    say,
)
from .depth_sources import file_state
from .missing_shards import missing_shards, say_known_problems


def view_angles(num_views: int) -> list[float]:
    """Return angles about the vertical axis in degrees: equal steps from 30, below 330. The paper has 10 views."""
    if num_views < 1:
        raise ValueError(f'the number of views must be >= 1, got {num_views}')
    return [30 + 300 * view / num_views for view in range(num_views)]


class _DepthViews(Dataset):
    """The objects of a dataset as packed depth views, with images where the pipeline makes them."""

    def __init__(self, dataset: Dataset, image_format: ImageFormat) -> None:
        self.dataset, self.image_format = dataset, image_format

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> PackedShape:
        results = self.dataset[index]
        category = results.get('category', '')
        metadata = dict(sample_id=results['sample_id'], category=category, text=results.get('text', spoken(category)))
        gray = np.rint(np.asarray(results['depth_views']) * 255).astype(np.uint8)
        shape = PackedShape(metadata, [encode_image(view) for view in gray], image_format=self.image_format)
        if 'images' in results:
            shape.metadata['num_images'] = len(results['images'])
            shape.image_files = [encode_image(image, self.image_format) for image in results['images']]
        return shape


def project_depth(dataset: dict, out_dir: str | Path, num_views: int = 10,
                  projection: dict | None = None, layout: Layout = 'shards', shapes_per_shard: int = 64,
                  num_workers: int = 0, renderings: dict | None = None) -> dict[str, str]:
    """Run this process's part of the depth stage.

    Unreadable objects are missing in their shards; a later run tries them again if their files have changed.

    Args:
        dataset: Config of a dataset whose pipeline gives ``points`` (N, 3), z up.
        out_dir: Folder of the store.
        num_views: Number of views of an object, V.
        projection: Further arguments of the projection; see :func:`build_projection`.
        layout: 'shards' (WebDataset) or 'folder' (as released).
        shapes_per_shard: Number of objects in a shard.
        num_workers: Number of worker processes that read and project.
        renderings: Arguments of ``RenderImages`` besides its projection: the store also gets color renderings of the
            meshes, as training needs them. None: depth views alone.

    Returns:
        sample_id -> why the object has no depth views, of all processes; each process waits for the last one.
    """
    projection = dict(projection or {}, view_angles=view_angles(num_views))
    stage = 'depth views' if renderings is None else 'renderings'
    steps = [dict(type='ProjectPointsToDepth', projection=projection)]
    if renderings is not None:
        steps.append(dict(renderings, type='RenderImages', projection=projection))
    config = dict(dataset, pipeline=[*dataset['pipeline'], *steps])
    # In test mode an unreadable object is an error and is not replaced by another one.
    shapes = DATASETS.build(dict(config, test_mode=True))
    out_dir, problems = Path(out_dir), {}
    with only_run(out_dir):
        store = on_first_process(lambda: ShapeStore.create(
            out_dir, layout, len(shapes), shapes_per_shard, dict(stage=stage, dataset=config)))
        own = own_share(missing_shards(store, lambda shard: bool(_changed(store, shard, shapes))))
        say(f'{store.num_shapes} objects in {store.num_shards} shards of {out_dir}; this process makes {len(own)}')
        tasks = [_Task(store, shard, shapes) for shard in own]
        indices = [index for task in tasks for index in task.indices]
        readable = UnreadableRecords(_DepthViews(shapes, 'png' if layout == 'folder' else 'jpg'))
        made = iter(DataLoader(Subset(readable, indices), batch_size=None, num_workers=num_workers, collate_fn=_as_is,
                               worker_init_fn=_one_thread))
        with progress(total=len(indices), desc=stage, unit='shape') as bar:
            for task in tasks:
                for index in task.indices:
                    task.add(index, next(made))
                    bar.update()
                problems.update(task.write())
    problems = {name: problem for own in of_all_processes(problems) for name, problem in own.items()}
    say_known_problems(store, problems)
    return problems


class _Task:
    """A shard that has to be made: all its objects, or only those of a finished one that can be tried again.

    Args:
        store: The store.
        shard: Number of the shard.
        shapes: The dataset.
    """

    def __init__(self, store: ShapeStore, shard: int, shapes: BaseDataset) -> None:
        self.store, self.shard, self.shapes = store, shard, shapes
        self.is_finished = store.is_done(shard) and store.is_intact(shard)
        self.indices = _changed(store, shard, shapes) if self.is_finished else list(store.indices(shard))
        self.made: dict[str, PackedShape] = {}
        self.problems: dict[str, Row] = {}

    def add(self, index: int, made: PackedShape | Unreadable) -> None:
        """Add an object, or why it cannot be read."""
        if not isinstance(made, Unreadable):
            self.made[made.sample_id] = made
            return
        record = self.shapes.get_data_info(index)
        row = problem_row(record['sample_id'], made.reason, files_of_record(record))
        self.problems[row['sample_id']] = row

    def write(self) -> dict[str, str]:
        """Write the shard. Return sample_id -> why the object was not made this time."""
        rows = dict(self.problems)
        if self.is_finished:
            self.made.update({shape.sample_id: shape for shape in self.store.read(self.shard)})
            rows = {row['sample_id']: row for row in self.store.rows(self.shard) if row['problem']} | rows
        names = [self.shapes.get_data_info(index)['sample_id'] for index in self.store.indices(self.shard)]
        self.store.write(self.shard, [self.made[name] for name in names if name in self.made],
                         [rows[name] for name in map(readable_text, names) if name in rows and name not in self.made])
        return {name: row['problem'] for name, row in self.problems.items()}


def _changed(store: ShapeStore, shard: int, shapes: BaseDataset) -> list[int]:
    """Return the objects of a finished shard that could not be read and whose files have changed since."""
    failed = {row['sample_id']: json.loads(row['metadata']).get('source') for row in store.rows(shard)
              if row['problem']}
    if not failed:
        return []
    records = {index: shapes.get_data_info(index) for index in store.indices(shard)}
    return [index for index, record in records.items()
            if (name := readable_text(record['sample_id'])) in failed and failed[name] != files_of_record(record)]


def files_of_record(record: dict) -> str:
    """Return the state of the files that a record of a dataset names, as a hash."""
    return file_state([file for value in record.values() if isinstance(value, str) and os.path.lexists(value)
                       for file in files_of_mesh(value)])


def _as_is(shape):
    return shape


def _one_thread(_: int) -> None:
    torch.set_num_threads(1)
