#!/usr/bin/env python
"""Time the backends of the contour-aware projection against each other in one run and check that they agree.

    python tools/analysis_tools/benchmark_projection.py --points 3000 10000
"""
import argparse
import time

import numpy as np
import torch

from opendlign_mm.datasets.procedural import sample_shape
from opendlign_mm.projection import ContourAwareProjection


def best_of(repeats: int, call, cuda: bool) -> float:
    """Shortest of several runs in seconds."""
    times = []
    for _ in range(repeats):
        begin = time.perf_counter()
        call()
        if cuda:
            torch.cuda.synchronize()
        times.append(time.perf_counter() - begin)
    return min(times)


def main():
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
    for count in args.points:
        shape = sample_shape(args.category, np.random.default_rng(0), count)
        points = torch.from_numpy(shape.points)[None].to(args.device)
        reference = ContourAwareProjection(**settings, backend='dense')
        project = ContourAwareProjection(**settings, backend=fast)
        difference = (project(points) - reference(points)).abs()  # also compiles and warms up
        slow_time = best_of(1 if not cuda else 5, lambda: reference(points), cuda)
        fast_time = best_of(10, lambda: project(points), cuda)
        print(f'| {count:,} | {slow_time:.3f} | {fast_time:.4f} | {slow_time / fast_time:.0f} x | '
              f'{difference.max():.1e} | {difference.mean():.1e} |')


if __name__ == '__main__':
    main()
