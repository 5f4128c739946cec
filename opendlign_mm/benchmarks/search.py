"""Suite ``search``: building and searching an index of shapes."""
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median

import numpy as np
from mmengine.config import Config

from ..retrieval import ShapeIndex
from ..retrieval.shape_index import write_folder
from ..retrieval.vectors import BLOCK, nearest
from .measuring import Curve, Row, Settings, grow

DIMENSIONS = (512, 1024)  # of ViT-B and ViT-H


class ClusteredVectors:
    """Random L2-normalized vectors around centers, as the shapes of many classes are; the same each time.

    Args:
        dimension: Their dimension D.
        clusters: Number of centers; 0 for vectors without structure, which no index can shorten.
        spread: Length of the deviation from a center of length 1.
    """

    def __init__(self, dimension: int, clusters: int = 0, spread: float = .7) -> None:
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
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)

    def blocks(self, count: int) -> Iterator[np.ndarray]:
        """Return ``count`` vectors block by block."""
        for number, begin in enumerate(range(0, count, BLOCK)):
            yield self.block(number, min(BLOCK, count - begin))


def build_index(folder: Path, vectors: ClusteredVectors, shapes: int) -> ShapeIndex:
    """Write an index of the vectors and read it."""
    write_folder(folder, vectors.blocks(shapes), (shapes, vectors.dimension), ({} for _ in range(shapes)),
                 (np.zeros((1, 1), np.uint8) for _ in range(shapes)), {}, Config({}))
    return ShapeIndex.load(folder)


class PeakMemory:
    """Largest memory that this process allocates itself (RssAnon) during a block, in GB; Linux only, else 0."""

    def __enter__(self) -> 'PeakMemory':
        self.gigabytes, self._stop = 0., threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        status = Path('/proc/self/status')
        while status.is_file() and not self._stop.wait(.05):
            values = dict(line.split(':', 1) for line in status.read_text().splitlines())
            self.gigabytes = max(self.gigabytes, int(values['RssAnon'].split()[0]) / 1e6)


def rows(settings: Settings) -> Iterator[Row]:
    """Measure single queries among many shapes, and how many of the true ten nearest they find."""
    shapes = settings.pick(settings.shapes, 200)
    for dimension in settings.pick(DIMENSIONS, (16, )):
        vectors = ClusteredVectors(dimension, settings.clusters)
        with tempfile.TemporaryDirectory() as folder, PeakMemory() as memory:
            begin = time.perf_counter()
            index = build_index(Path(folder) / 'index', vectors, shapes)
            built, queries, times, found = time.perf_counter() - begin, vectors.block(10**6, 100), [], []
            for query in queries:
                begin = time.perf_counter()
                found.append(index.search(query[None], 10)[1][0])
                times.append(time.perf_counter() - begin)
        expected = nearest(vectors.blocks(shapes), queries, 10)
        recall = np.mean([len({*ours} & {*theirs}) / 10 for ours, theirs in zip(found, expected, strict=True)])
        yield Row('search', f'query among {shapes:,} shapes of {dimension} dimensions', median(times), 'query',
                  facts=dict(recall_at_10=float(recall), build_seconds=built, memory_gb=memory.gigabytes,
                             seconds_of_95_percent=float(np.quantile(times, .95)),
                             search='compressed' if 'vectors_bytes' in index.about else 'exact'))


def curves(settings: Settings) -> Iterator[Curve]:
    """Measure queries among a growing number of objects."""
    vectors = ClusteredVectors(settings.pick(DIMENSIONS[0], 16))

    def among(count: int) -> Callable:
        with tempfile.TemporaryDirectory() as folder:
            index = build_index(Path(folder) / 'index', vectors, count)
        query = vectors.block(10**6, 1)
        return lambda: index.search(query, 10)

    yield grow('search', 'a query', 'objects', settings.pick((1000, 5000, 10000, 50000), (100, 200)), among, settings)
