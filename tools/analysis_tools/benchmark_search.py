#!/usr/bin/env python
"""Measure building and searching an index of many shapes, as a Markdown table.

    python tools/analysis_tools/benchmark_search.py --shapes 100000
    python tools/analysis_tools/benchmark_search.py --shapes 2000000 --dimensions 512 --clusters 20000

The vectors are random: without --clusters uniform on the sphere, which no index can shorten; with --clusters around
random centers, as the shapes of many classes are. The queries are further vectors of the same kind. Memory is the peak
of what the process allocates itself (RssAnon) and of all that it has loaded, files mapped from the disk included (RSS).
"""
import argparse
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from mmengine.config import Config

from opendlign_mm.retrieval import ShapeIndex
from opendlign_mm.retrieval.shape_index import write_folder
from opendlign_mm.retrieval.vectors import BLOCK, nearest


class Vectors:
    """Random L2-normalized vectors, the same each time they are asked for.

    Args:
        dimension: Their dimension D.
        clusters: Number of centers; 0 for vectors without structure.
        spread: Length of the deviation from a center of length 1.
    """

    def __init__(self, dimension: int, clusters: int, spread: float) -> None:
        self.dimension, self.spread = dimension, spread
        self.centers = np.random.default_rng(0).standard_normal((clusters, dimension), dtype=np.float32)
        self.centers /= np.linalg.norm(self.centers, axis=1, keepdims=True)

    def block(self, number: int, count: int) -> np.ndarray:
        """Return vectors, float32 (count, D)."""
        rng = np.random.default_rng(number + 1)
        vectors = rng.standard_normal((count, self.dimension), dtype=np.float32)
        if len(self.centers):
            vectors *= self.spread / np.sqrt(self.dimension)
            vectors += self.centers[rng.integers(len(self.centers), size=count)]
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        return vectors

    def blocks(self, count: int) -> Iterator[np.ndarray]:
        """Return ``count`` vectors block by block."""
        for number, begin in enumerate(range(0, count, BLOCK)):
            yield self.block(number, min(BLOCK, count - begin))


class PeakMemory:
    """Largest memory of this process during a block, in GB."""

    def __enter__(self) -> 'PeakMemory':
        self.own = self.all = 0.
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._stop.wait(.05):
            status = dict(line.split(':', 1) for line in Path('/proc/self/status').read_text().splitlines())
            self.own = max(self.own, int(status['RssAnon'].split()[0]) / 1e6)
            self.all = max(self.all, int(status['VmRSS'].split()[0]) / 1e6)


def measure(args: argparse.Namespace, dimension: int, folder: Path) -> str:
    """Return a row of the table."""
    vectors = Vectors(dimension, args.clusters, args.spread)
    began = time.perf_counter()
    with PeakMemory() as memory:
        write_folder(folder, vectors.blocks(args.shapes), (args.shapes, dimension), ({} for _ in range(args.shapes)),
                     (np.zeros((1, 1), np.uint8) for _ in range(args.shapes)), {}, Config({}))
        built = time.perf_counter() - began
        index = ShapeIndex.load(folder)
        queries, times, found = vectors.block(10**6, args.queries), [], []
        for query in queries:
            began = time.perf_counter()
            found.append(index.search(query[None], 10)[1][0])
            times.append(1000 * (time.perf_counter() - began))
    expected = nearest(vectors.blocks(args.shapes), queries, 10)
    recall = np.mean([len({*ours} & {*theirs}) / 10 for ours, theirs in zip(found, expected, strict=True)])
    kind = 'IVF-PQ' if 'vectors_bytes' in index.about else 'exact'
    return (f'| {args.shapes:,} | {dimension} | {kind} | {built:.0f} | {memory.own:.2f} | {memory.all:.2f} | '
            f'{np.median(times):.1f} | {np.quantile(times, .95):.1f} | {recall:.3f} | '
            f'{index.about.get("recall_at_10", 1)} |')


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--shapes', type=int, default=100_000)
    parser.add_argument('--dimensions', type=int, nargs='+', default=[512, 1024])
    parser.add_argument('--queries', type=int, default=100)
    parser.add_argument('--clusters', type=int, default=0, help='number of clusters; default none')
    parser.add_argument('--spread', type=float, default=.7, help='deviation of the vectors from their center')
    parser.add_argument('--folder', type=Path, help='folder in which the index is made, then removed')
    args = parser.parse_args()
    columns = ['shapes', 'dimensions', 'search', 'build (s)', 'own memory (GB)', 'with mapped files (GB)',
               'query (median, ms)', 'query (95 %, ms)', 'recall@10', 'recall@10 by the index']
    print('| ' + ' | '.join(columns) + ' |\n' + '|---' * len(columns) + '|')
    for dimension in args.dimensions:
        with tempfile.TemporaryDirectory(dir=args.folder) as folder:
            print(measure(args, dimension, Path(folder) / 'index'), flush=True)


if __name__ == '__main__':
    main()
