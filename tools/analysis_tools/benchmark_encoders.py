#!/usr/bin/env python
"""Measure how many points a second the point encoders of ULIP, OpenShape and TAMM take.

    python tools/analysis_tools/benchmark_encoders.py
    python tools/analysis_tools/benchmark_encoders.py --device cuda --batch 32
"""
import argparse
import time

import torch

from opendlign_mm.point_encoders import PointBERT, PointPatchTransformer, SparseResNet

ENCODERS = {
    'PointBERT (ULIP)': (PointBERT, 8192),
    'PointPatchTransformer (OpenShape, TAMM)': (PointPatchTransformer, 10000),
    'SparseResNet, torch': (lambda: SparseResNet(engine='torch'), 10000),
    'SparseResNet, spconv': (lambda: SparseResNet(engine='spconv'), 10000)}


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--device', default='cpu')
    parser.add_argument('--batch', type=int, default=2, help='number of clouds at a time')
    parser.add_argument('--repeats', type=int, default=3, help='number of measurements, of which the best counts')
    return parser.parse_args()


def surfaces(batch: int, points: int) -> torch.Tensor:
    """Return points on ellipsoids in the unit ball, float32 (B, N, 3): occupied voxels of a surface, as in shapes."""
    generator = torch.Generator().manual_seed(0)
    directions = torch.nn.functional.normalize(torch.randn(batch, points, 3, generator=generator), dim=-1)
    return directions * torch.tensor([1., .7, .4])


@torch.no_grad()
def measure(encoder: torch.nn.Module, points: torch.Tensor, repeats: int) -> float:
    """Return the least time of a forward pass in seconds, after one that is not counted."""
    times = []
    for _ in range(repeats + 1):
        if points.is_cuda:
            torch.cuda.synchronize()
        start = time.perf_counter()
        encoder(points)
        if points.is_cuda:
            torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    return min(times[1:])


def main() -> None:
    """Print a table."""
    args = parse_args()
    print(f'{args.device}, {torch.get_num_threads()} threads, {args.batch} clouds at a time\n')
    print('| encoder | points of a cloud | seconds a cloud | points/s |\n|---|---|---|---|')
    for name, (build, count) in ENCODERS.items():
        try:
            seconds = measure(build().to(args.device).eval(), surfaces(args.batch, count).to(args.device), args.repeats)
        except ImportError:
            print(f'| {name} | {count:,} | not installed | |')
            continue
        print(f'| {name} | {count:,} | {seconds / args.batch:.2f} | {args.batch * count / seconds:,.0f} |')


if __name__ == '__main__':
    main()
