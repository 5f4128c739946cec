"""Suite ``projection``: depth views of objects by each backend and each compared system."""
import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from importlib.util import find_spec
from typing import Any

import torch
from mmdet3d.registry import DATASETS
from mmengine.registry import init_default_scope
from torch.utils.data import DataLoader

from ..projection import ContourAwareProjection, build_projection
from .limits import least_seconds
from .measuring import Curve, Row, Settings, compare, grow, median_seconds
from .models import cloud

# Projections of the compared systems, with their own views.
SYSTEMS = (dict(type='PointCLIPProjection'), dict(type='RealisticProjection', output_resolution=224),
           dict(type='RenderedDepthProjection'))


def rows(settings: Settings) -> Iterator[Row]:
    """Measure ten views of a chair of 3,000 and 10,000 points at 224 pixels, and those of the compared systems."""
    for count in settings.pick((3000, 10000), (300, )):
        yield _contour_aware(count, settings)
    if settings.device.type == 'cuda' and find_spec('triton'):
        yield _batch_by_triton(settings)
    points = cloud(settings.pick(10000, 300), settings.device)
    for system in SYSTEMS:
        project: Any = build_projection(dict(system))
        seconds = median_seconds(partial(project, points), settings)
        yield Row('projection', f'{project.num_views} views of {system["type"]}, {points.shape[1]:,} points', seconds,
                  'object')


def _contour_aware(count: int, settings: Settings) -> Row:
    options = settings.pick({}, dict(resolution=32, depth_bins=8))
    points = cloud(count, settings.device)
    ours, dense = ContourAwareProjection(**options), ContourAwareProjection(**options, backend='dense')
    difference = (ours(points) - dense(points)).abs()
    seconds = median_seconds(lambda: ours(points), settings)
    # The dense form takes many seconds on a CPU: a single pair tells a ratio of a hundred.
    few = settings if settings.device.type == 'cuda' else replace(settings, quick=True)
    _, dense_seconds, ratio = compare(lambda: ours(points), lambda: dense(points), few)
    return Row('projection', f'{ours.num_views} contour-aware views, {count:,} points', seconds, 'object',
               other='dense form in PyTorch', other_seconds=dense_seconds, ratio=ratio,
               limit_seconds=_least(ours, count, settings),
               facts=dict(max_difference=difference.max().item(), mean_difference=difference.mean().item(),
                          pairs=few.repeats))


def _batch_by_triton(settings: Settings) -> Row:
    """Compare a batch of clouds by the backend ``'triton'`` with the same by ``'cuda'``, the automatic choice."""
    options = settings.pick({}, dict(resolution=32, depth_bins=8))
    batch, count = settings.pick((32, 3000), (2, 300))
    points = cloud(count, settings.device).expand(batch, -1, -1)
    ours, other = (ContourAwareProjection(**options, backend=backend) for backend in ('triton', 'cuda'))
    difference = (ours(points[:1]) - other(points[:1])).abs()
    seconds, other_seconds, ratio = compare(lambda: ours(points), lambda: other(points), settings)
    return Row('projection', f'{ours.num_views} contour-aware views by Triton, {batch} objects of {count:,} points',
               seconds / batch, 'object', other="backend 'cuda' in PyTorch", other_seconds=other_seconds / batch,
               ratio=ratio, limit_seconds=_least(ours, count, settings),
               facts=dict(max_difference=difference.max().item(), mean_difference=difference.mean().item(),
                          views_per_second=ours.num_views * batch / seconds))


def _least(projection: ContourAwareProjection, points: int, settings: Settings) -> float:
    """Return the time to read the points once for each view and to write the views, which no projection can avoid."""
    moved = projection.num_views * 4 * (3 * points + projection.resolution**2)
    return least_seconds(settings.device, torch.float32, bytes_moved=moved, quick=settings.quick)


def curves(settings: Settings) -> Iterator[Curve]:
    """Measure growing numbers of points, of views and of data workers."""
    options = settings.pick({}, dict(resolution=32, depth_bins=8))

    def of_points(count: int) -> Callable:
        points, project = cloud(count, settings.device), ContourAwareProjection(**options)
        return lambda: project(points)

    def of_views(count: int) -> Callable:
        points = cloud(settings.pick(3000, 300), settings.device)
        project = ContourAwareProjection(**options, view_angles=[360 * view / count for view in range(count)])
        return lambda: project(points)

    yield grow('projection', 'ten views of an object', 'points',
               settings.pick((1000, 3000, 10000, 30000, 100000), (100, 300)), of_points, settings)
    yield grow('projection', 'views of an object of 3,000 points', 'views', settings.pick((1, 5, 10, 20, 40), (1, 2)),
               of_views, settings)
    cores = os.cpu_count() or 1
    workers = [count for count in (1, 2, 4, 8, 16, 32, 64) if count <= max(2, cores)]
    yield grow('projection', '64 objects by data workers' if not settings.quick else '4 objects by data workers',
               'workers', settings.pick(workers, (1, 2)), lambda count: _by_workers(count, settings), settings)


def _by_workers(workers: int, settings: Settings) -> Callable:
    """Return an epoch of a loader that projects objects in ``workers`` processes."""
    init_default_scope('mmdet3d')
    pipeline = [dict(type='LoadBuiltInShape'), dict(type='ProjectPointsToDepth', projection=settings.pick(
        {}, dict(resolution=32, depth_bins=8))), dict(type='PackShapeInputs')]
    dataset = DATASETS.build(dict(
        type='BuiltInShapes', split='test', categories=('chair', 'table', 'lamp', 'bed'),
        num_per_category=settings.pick(16, 1), num_points=settings.pick(3000, 100), pipeline=pipeline))
    loader = DataLoader(dataset, batch_size=4, num_workers=workers, collate_fn=len)
    return lambda: sum(loader)
