"""The depth stage: project the point clouds or meshes of a dataset to depth views, shard by shard."""
from pathlib import Path

import numpy as np
import torch
from mmdet3d.registry import DATASETS
from mmengine.config import Config
from torch.utils.data import DataLoader, Dataset, Subset

from ..datasets.shape_dataset import spoken
from ..datasets.store import PackedShape, ShapeStore, encode_image
from ..datasets.store.shape_store import Layout
from ..datasets.unreadable import Unreadable, UnreadableRecords
from .processes import missing_shards, of_all_processes, on_first_process, only_run, own_share, progress, say


def view_angles(num_views: int) -> list[float]:
    """Return angles about the vertical axis in degrees: equal steps from 30, below 330. The paper has 10 views."""
    if num_views < 1:
        raise ValueError(f'the number of views must be >= 1, got {num_views}')
    return [30 + 300 * view / num_views for view in range(num_views)]


def shapes_to_project(source: str, num_points: int = 10000) -> dict:
    """Return the dataset config that ``SRC`` of tools/project_depth.py stands for, without its projection.

    Args:
        source: A folder with one sub-folder of clouds or meshes for each class; 'built-in', or 'built-in:N' for N
            objects of each kind; or a config file with ``dataset``, whose pipeline gives ``points``.
        num_points: Number of points taken of each object, unless ``source`` is a config.

    Raises:
        FileNotFoundError: There is no such config.
        ValueError: N is not a number, or the config has no ``dataset``.
    """
    if source.split(':')[0] == 'built-in':
        number = source.partition(':')[2] or '50'
        if not number.isdigit() or not int(number):
            raise ValueError(f"N in 'built-in:N' must be a number of objects of each kind, got {source!r}")
        return dict(type='BuiltInShapes', num_per_category=int(number), num_points=num_points,
                    pipeline=[dict(type='LoadBuiltInShape')])
    if source.endswith('.py'):
        if not Path(source).is_file():
            raise FileNotFoundError(f'config {source} does not exist')
        dataset = Config.fromfile(source).get('dataset')
        if dataset is None:
            raise ValueError(f'{source} has no `dataset`, the dataset to project')
        return dataset.to_dict()
    return dict(type='ShapeFolder', data_root=source, pipeline=[dict(type='LoadShapePoints', num_points=num_points)])


class _DepthViews(Dataset):
    """The objects of a dataset as packed depth views."""

    def __init__(self, dataset: Dataset) -> None:
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> PackedShape:
        results = self.dataset[index]
        category = results.get('category', '')
        metadata = dict(sample_id=results['sample_id'], category=category, text=results.get('text', spoken(category)))
        gray = np.rint(np.asarray(results['depth_views']) * 255).astype(np.uint8)
        return PackedShape(metadata, [encode_image(view) for view in gray])


def project_depth(dataset: dict | Dataset, out_dir: str | Path, num_views: int = 10,
                  projection: dict | None = None, layout: Layout = 'shards', shapes_per_shard: int = 64,
                  num_workers: int = 0) -> dict[str, str]:
    """Run this process's part of the depth stage.

    Unreadable objects are missing in their shards; the next run tries them again.

    Args:
        dataset: Config of a dataset whose pipeline gives ``points`` (N, 3), z up.
        out_dir: Folder of the store.
        num_views: Number of views of an object, V.
        projection: Further arguments of the projection; see :func:`build_projection`.
        layout: 'shards' (WebDataset) or 'folder' (as released).
        shapes_per_shard: Number of objects in a shard.
        num_workers: Number of worker processes that read and project.

    Returns:
        sample_id -> why the object has no depth views, of all processes; each process waits for the last one.
    """
    projection = dict(projection or {}, view_angles=view_angles(num_views))
    dataset = dict(dataset, pipeline=[*dataset['pipeline'], dict(type='ProjectPointsToDepth', projection=projection)])
    settings = dict(stage='depth views', dataset=dataset)
    # In test mode an unreadable object is an error and is not replaced by another one.
    dataset = DATASETS.build(dict(dataset, test_mode=True))
    out_dir, problems = Path(out_dir), {}
    with only_run(out_dir):
        store = on_first_process(
            lambda: ShapeStore.create(out_dir, layout, len(dataset), shapes_per_shard, settings))
        views = UnreadableRecords(_DepthViews(dataset))
        own = own_share(missing_shards(store, lambda shard: any(row['problem'] for row in store.rows(shard))))
        say(f'{store.num_shapes} objects in {store.num_shards} shards of {out_dir}; this process makes {len(own)}')
        indices = [index for shard in own for index in store.indices(shard)]
        made = iter(DataLoader(Subset(views, indices), batch_size=None, num_workers=num_workers, collate_fn=_as_is,
                               worker_init_fn=_one_thread))
        with progress(total=len(indices), desc='depth views', unit='shape') as bar:
            for shard in own:
                shapes, broken = [], {}
                for index in store.indices(shard):
                    shape = next(made)
                    bar.update()
                    if isinstance(shape, Unreadable):
                        broken[dataset.get_data_info(index)['sample_id']] = shape.reason
                    else:
                        shapes.append(shape)
                store.write(shard, shapes, broken)
                problems.update(broken)
    return {name: problem for own_problems in of_all_processes(problems) for name, problem in own_problems.items()}


def _as_is(shape):
    return shape


def _one_thread(_: int) -> None:
    torch.set_num_threads(1)
