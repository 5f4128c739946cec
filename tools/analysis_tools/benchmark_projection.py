#!/usr/bin/env python
"""Compare the backends of the contour-aware projection, and then the projections of all systems, in one run.

    python tools/analysis_tools/benchmark_projection.py --points 3000 10000
"""
import argparse
import time
from collections.abc import Callable

import numpy as np
import torch

from opendlign_mm.datasets.procedural import sample_shape
from opendlign_mm.projection import ContourAwareProjection, build_projection

# Projections of the compared systems, with their own views.
SYSTEMS = (dict(type='ContourAwareProjection'), dict(type='PointCLIPProjection'),
           dict(type='RealisticProjection', output_resolution=224), dict(type='RenderedDepthProjection'))


def best_of(repeats: int, call: Callable, cuda: bool) -> float:
    """Return the shortest of several runs in seconds."""
    times = []
    for _ in range(repeats):
        begin = time.perf_counter()
        call()
        if cuda:
            torch.cuda.synchronize()
        times.append(time.perf_counter() - begin)
    return min(times)


def compare(points: torch.Tensor, settings: dict, fast: str, cuda: bool) -> tuple[float, float, torch.Tensor]:
    """Return the seconds of the dense and of the fast backend and the absolute differences of their views."""
    reference = ContourAwareProjection(**settings, backend='dense')
    project = ContourAwareProjection(**settings, backend=fast)
    difference = (project(points) - reference(points)).abs()  # also compiles and warms up
    return (best_of(5 if cuda else 1, lambda: reference(points), cuda), best_of(10, lambda: project(points), cuda),
            difference)


def time_of_systems(counts: list[int], clouds: list[torch.Tensor], cuda: bool) -> None:
    """Print the time of each system's views of one object."""
    print('\n| system | views | ' + ' | '.join(f'{count:,} points (s)' for count in counts) + ' |\n'
          + '|---' * (2 + len(counts)) + '|')
    for settings in SYSTEMS:
        project = build_projection(settings)
        seconds = []
        for points in clouds:
            project(points)
            seconds.append(best_of(5, lambda project=project, points=points: project(points), cuda))
        print(f'| {settings["type"]} | {project.num_views} | ' + ' | '.join(f'{each:.4f}' for each in seconds) + ' |')


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--points', type=int, nargs='+', default=[3000, 10000])
    parser.add_argument('--category', default='chair')
    parser.add_argument('--depth-bins', type=int, default=64)
    parser.add_argument('--resolution', type=int, default=224)
    parser.add_argument('--device', default='cuda' if torch.cuda.is_available() else 'cpu')
    args = parser.parse_args()
    fast, cuda = ('cuda', True) if args.device.startswith('cuda') else ('numba', False)
    settings = dict(depth_bins=args.depth_bins, resolution=args.resolution)
    print(f'{settings}, 10 views, {args.category}, {args.device}, {torch.get_num_threads()} CPU threads')
    print('| points | dense (s) | ' + fast +
          ' (s) | ratio | max difference | mean difference |\n|---|---|---|---|---|---|')
    shapes = (sample_shape(args.category, np.random.default_rng(0), count) for count in args.points)
    clouds = [torch.from_numpy(shape.points)[None].to(args.device) for shape in shapes]
    for count, points in zip(args.points, clouds, strict=True):
        slow_time, fast_time, difference = compare(points, settings, fast, cuda)
        print(f'| {count:,} | {slow_time:.3f} | {fast_time:.4f} | {slow_time / fast_time:.0f} x | '
              f'{difference.max():.1e} | {difference.mean():.1e} |')
    time_of_systems(args.points, clouds, cuda)


if __name__ == '__main__':
    main()
