"""What tools/project_depth.py takes shapes from, and the check of a guessed up axis."""
from pathlib import Path

import numpy as np
from mmdet3d.registry import DATASETS
from mmengine.config import Config
from mmengine.dataset import BaseDataset

from ..datasets.shape_folder import ShapeFolder
from ..datasets.shapenet import is_shapenet_core
from ..datasets.store.description import DESCRIPTION
from ..datasets.transforms.loading import LoadShapePoints, UpAxis
from ..datasets.unreadable import READING_ERRORS
from ..point_files.shape_pose import DOUBT, lies_by
from ..processes import on_first_process, say

OBJECTS_LOOKED_AT = 24


def shapes_to_project(source: str, num_points: int = 10000, up_axis: UpAxis | None = None) -> dict:
    """Return the dataset config that ``SRC`` of tools/project_depth.py stands for, without its projection.

    Args:
        source: A folder of ShapeNetCore (version 1 or 2), or another one with one sub-folder of clouds or meshes for
            each class; 'built-in', or 'built-in:N' for N objects of each kind; or a config file with ``dataset``, whose
            pipeline gives ``points``.
        num_points: Number of points taken of each object, unless ``source`` is a config.
        up_axis: The axis that points up in the files of a folder. None: y in ShapeNetCore and in glTF files, which is
            their standard, and z in all others.

    Raises:
        FileNotFoundError: There is no such config.
        ValueError: N is not a number, the config has no ``dataset``, or ``up_axis`` is given for other sources than
            folders.
    """
    is_built_in, is_config = source.split(':')[0] == 'built-in', source.endswith('.py')
    if up_axis is not None and (is_built_in or is_config):
        raise ValueError(f'--up-axis is for folders; {source} ' + ('is z up' if is_built_in else
                                                                     'says it in its dataset (up_axis=...)'))
    if is_built_in:
        number = source.partition(':')[2] or '50'
        if not number.isdigit() or not int(number):
            raise ValueError(f"N in 'built-in:N' must be a number of objects of each kind, got {source!r}")
        return dict(type='BuiltInShapes', num_per_category=int(number), num_points=num_points,
                    pipeline=[dict(type='LoadBuiltInShape')])
    if is_config:
        if not Path(source).is_file():
            raise FileNotFoundError(f'config {source} does not exist')
        dataset = Config.fromfile(source).get('dataset')
        if dataset is None:
            raise ValueError(f'{source} has no `dataset`, the dataset to project')
        return dataset.to_dict()
    load = dict(type='LoadShapePoints', num_points=num_points)
    if up_axis is not None:
        load['up_axis'] = up_axis
    return dict(type='ShapeNetCore' if is_shapenet_core(source) else 'ShapeFolder', data_root=source, pipeline=[load])


def say_doubt_about_up_axis(dataset: dict, out_dir: str | Path) -> None:
    """Print the warning of :func:`doubt_about_up_axis`, if any, before a store is started.

    Args:
        dataset: Config of the dataset that is to be projected.
        out_dir: Folder of the store.
    """
    if not (Path(out_dir) / DESCRIPTION).exists():
        doubt = on_first_process(lambda: doubt_about_up_axis(DATASETS.build(dict(dataset, test_mode=True))))
        if doubt:
            say(f'warning: {doubt}')


def doubt_about_up_axis(shapes: BaseDataset) -> str | None:
    """Return a warning if the up axis of a folder is a guess and its objects seem to lie.

    Some objects of the folder are read; see :func:`.point_files.shape_pose.lies_by`.

    Args:
        shapes: Dataset that is to be projected.
    """
    if not isinstance(shapes, ShapeFolder) or not shapes.guesses_up_axis or any(
            getattr(transform, 'up_axis', None) for transform in shapes.pipeline.transforms):
        return None
    records = [shapes.get_data_info(index) for index in range(len(shapes))]
    records = [record for record in records if not record['points_path'].lower().endswith(('.glb', '.gltf'))]
    differences = []
    for index in np.unique(np.linspace(0, len(records) - 1, OBJECTS_LOOKED_AT, dtype=int)) if records else ():
        try:
            points = LoadShapePoints(2000, up_axis='z')(dict(records[index]))['points'].numpy()
        except READING_ERRORS:
            continue
        differences.append(lies_by(points))
    if not differences or np.mean(differences) < DOUBT:
        return None
    return (f'{shapes.data_root}: the up axis of these files is a guess (z), but of {len(differences)} objects that '
            'were looked at most seem to lie on their back. Look at the depth views; if they do, remove them and set '
            '--up-axis y. With --up-axis z this is not checked.')
