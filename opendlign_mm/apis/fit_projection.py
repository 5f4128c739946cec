"""Fit the constants of the contour-aware projection to depth views that somebody else made of known points.

The paper leaves the elevation, the object ratio, the depth bias, the depth bins and both sigmas open. Given points and
the released views of some objects, this finds the constants whose views differ least, and says whether they fit at all.
"""
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath

import numpy as np
import torch
from mmengine.dataset import BaseDataset
from torch import Tensor

from ..datasets.released import DEPTH_SUFFIX, read_depth_views
from ..point_files.shape_files import SHAPE_EXTENSIONS
from .fitted_projection import FittedProjection
from .projection_search import LIMITS, ProjectionSearch, view_error
from .view_matching import find_poses

SYMMETRIES = range(30, 360, 30)  # turns in degrees that are tried on the fitted views


def fit_projection(clouds: Sequence[Tensor], views: Tensor,
                   on_evaluation: Callable[[float], object] | None = None) -> FittedProjection:
    """Find the constants of :class:`ContourAwareProjection` that reproduce given depth views of given points.

    The pose comes first, from small images (:func:`.view_matching.find_poses`); then the geometry, the bins and the
    sigmas by the Nelder-Mead method, in turns until a turn lowers the error by less than a tenth. The kernels are the
    published ones, 7 and 5.

    Args:
        clouds: Points of K >= 1 objects, float (N_i, 3), any axis up. The more different and the less symmetric the
            objects, the better.
        views: Their depth views, float (K, V, H, H) in [0, 1]: white background, near is dark.
        on_evaluation: Called with the smallest error so far whenever a set of constants was tried.

    Raises:
        ValueError: The shapes do not fit together, an object has fewer than two points, or a view is white.
    """
    if views.dim() != 4 or len(views) != len(clouds) or not len(clouds) or views.shape[-1] != views.shape[-2]:
        raise ValueError(f'{len(clouds)} objects need gray square views (objects, views, H, H), got '
                         f'{tuple(views.shape)}')
    if min(map(len, clouds)) < 2:
        raise ValueError('an object has fewer than two points; leave it out')
    clouds, views = [cloud.float() for cloud in clouds], views.float()
    searches = [ProjectionSearch(clouds, views, pose, on_evaluation) for pose in find_poses(clouds, views)]
    best, other = sorted(searches, key=lambda search: search.find_geometry())  # of equal ones the first, not mirrored
    best.find_all()
    other.take_constants(best)
    if other.error() < best.error():  # the geometry alone did not tell the mirrorings of symmetric objects apart
        best, other = other, best
        best.find_all()
    return _judged(best, other)


def _judged(search: ProjectionSearch, other: ProjectionSearch) -> FittedProjection:
    """Return the result of a search, given that in the other mirroring with the same constants."""
    projection = search.projection()
    ours = projection(search.clouds)
    halves = [projection([cloud[first::2] for cloud in search.clouds]) for first in (0, 1)]
    steps = search.steps()
    tolerance = 0.
    for name, step in steps.items():
        value, half = search.constants[name], step if name == 'depth_bins' else step / 2
        changed = value + half if value + half <= LIMITS.get(name, (0, value + half))[1] else value - half
        views = search.projection(slice(None), **{name: changed})(search.clouds)
        tolerance = max(tolerance, view_error(ours, views).mean().item())
    alternatives = [f'views turned by {turn} degrees' for turn in SYMMETRIES
                    if search.error(azimuth=search.constants['azimuth'] + turn) <= tolerance]
    if other.error() <= tolerance:
        alternatives.append('views that are mirrored' if other.pose.mirrored else 'views that are not mirrored')
    around = {name: (step, search.error(**{name: search.constants[name] - step}),
                     search.error(**{name: search.constants[name] + step}))
              for name, step in steps.items() if name != 'depth_bins' or search.constants[name] > 1}
    pose = search.pose._replace(elevation=search.constants['elevation'], angles=projection.view_angles)
    return FittedProjection(
        pose=pose, projection=projection, views=ours.flip(-1) if pose.mirrored else ours,
        errors=view_error(ours, search.views), tolerance=tolerance, sampling_error=view_error(*halves).mean().item(),
        alternatives=alternatives, around=around)


def pairs_by_name(shapes: BaseDataset, folder: str | Path) -> list[tuple[int, Path]]:
    """Find the objects of a dataset of which a folder has depth views.

    ``<id>_dm.npy`` and ``<id>+<category>_dm.npy`` belong to the object whose ``sample_id`` ends in ``<id>``, with or
    without the ending of a file, or in its last two parts joined by '-', as in ``<synset>-<model>``.

    Args:
        shapes: Dataset of shapes.
        folder: Folder of depth views.

    Returns:
        Index of each object, and the file of its views.

    Raises:
        FileNotFoundError: The folder has no such file.
        ValueError: No object has views, or two have the same; the message names some of both.
    """
    files = {path.name.removesuffix(DEPTH_SUFFIX): path for path in sorted(Path(folder).glob(f'*{DEPTH_SUFFIX}'))}
    ids = Counter(name.rpartition('+')[0] for name in files)
    by_id = {name.rpartition('+')[0]: path for name, path in files.items() if ids[name.rpartition('+')[0]] == 1}
    if not files:
        raise FileNotFoundError(f'{folder} has no file *{DEPTH_SUFFIX}; give the folder of the released depth maps, '
                                'such as data/opendlign/modelnet40/depth_map')
    pairs: dict[Path, int] = {}
    records = [shapes.get_data_info(index) for index in range(len(shapes))]
    names = [record['sample_id'] for record in records]
    for index, (name, record) in enumerate(zip(names, records, strict=True)):
        path = PurePosixPath(name)
        stem = path.stem if path.suffix.lower() in SHAPE_EXTENSIONS else path.name
        file = next((found for key in (stem, f'{path.parent.name}-{stem}') for found in (
            files.get(f'{key}+{record.get("category")}'), files.get(key), by_id.get(key)) if found), None)
        if file is not None and file in pairs:
            raise ValueError(f'{names[pairs[file]]} and {name} both belong to {file}; keep one of them')
        if file is not None:
            pairs[file] = index
    if not pairs:
        raise ValueError(f'none of the {len(names)} objects, such as {", ".join(names[:3])}, has depth views in '
                         f'{folder}, which has those of {", ".join(list(files)[:3])}; the names must agree')
    return [(index, file) for file, index in pairs.items()]


def read_pairs(shapes: BaseDataset, pairs: Sequence[tuple[int, Path]],
               most: int) -> tuple[list[str], list[Tensor], Tensor]:
    """Read the points and the given views of some objects, spread evenly over all of them.

    Args:
        shapes: Dataset whose pipeline gives ``points``.
        pairs: Objects and files of :func:`pairs_by_name`.
        most: Largest number of objects.

    Returns:
        Names, points, float (N_i, 3) each, and views, float (K, V, H, W).

    Raises:
        ValueError: ``most`` is below 1, a file cannot be read or its channels differ, or two have different shapes.
    """
    if most < 1:
        raise ValueError(f'the number of objects must be >= 1, got {most}')
    chosen = [pairs[place] for place in np.unique(np.linspace(0, len(pairs) - 1, min(most, len(pairs))).astype(int))]
    views = [torch.from_numpy(read_depth_views(file)) for _, file in chosen]
    for (_, file), found in zip(chosen, views, strict=True):
        if found.dim() != 3 or found.shape != views[0].shape:
            raise ValueError(f'{file} has views of shape {tuple(found.shape)}; gray ones are needed, of one shape in '
                             f'all files ({chosen[0][1].name}: {tuple(views[0].shape)})')
    items = [shapes[index] for index, _ in chosen]
    return ([item['sample_id'] for item in items], [torch.as_tensor(item['points'])[:, :3] for item in items],
            torch.stack(views))
