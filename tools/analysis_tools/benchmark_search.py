#!/usr/bin/env python
"""Measure the time of a query among many shapes, as a Markdown table.

    python tools/analysis_tools/benchmark_search.py --shapes 100000
"""
import argparse
import time

import numpy as np
from mmengine.config import Config

from opendlign_mm.retrieval import ShapeIndex


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--shapes', type=int, default=100_000)
    parser.add_argument('--dimensions', type=int, nargs='+', default=[512, 1024])
    parser.add_argument('--queries', type=int, default=50)
    args = parser.parse_args()
    rng = np.random.default_rng(0)
    print('| shapes | dimensions | one query, FAISS (median, ms) | NumPy (median, ms) |\n' + '|---' * 4 + '|')
    for dimension in args.dimensions:
        vectors = rng.standard_normal((args.shapes, dimension), dtype=np.float32)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        thumbnails = np.zeros((args.shapes, 1, 1), np.uint8)
        index = ShapeIndex(vectors, [{}] * args.shapes, thumbnails, {}, Config({}))
        queries = rng.standard_normal((args.queries, dimension), dtype=np.float32)
        times = dict(faiss=[], numpy=[])
        for query in queries:
            began = time.perf_counter()
            index.search(query[None], 5)
            times['faiss'].append(time.perf_counter() - began)
            began = time.perf_counter()
            np.argpartition(vectors @ query, -5)[-5:]
            times['numpy'].append(time.perf_counter() - began)
        print(f'| {args.shapes:,} | {dimension} | ' +
              ' | '.join(f'{1000 * np.median(values):.1f}' for values in times.values()) + ' |')


if __name__ == '__main__':
    main()
