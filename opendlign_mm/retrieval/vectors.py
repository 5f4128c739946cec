"""Search among vectors by cosine: exact below half a million vectors, compressed (IVF-PQ) on the disk above.

An exact search reads all vectors for each query: 500,000 of 512 dimensions are 1 GB of memory and 50 ms on one thread.
The compressed search (Jegou et al., "Product quantization for nearest neighbor search", PAMI 2011) reads the codes of
the cells around a query, 64 bytes instead of 2 kB a vector at 512 dimensions, and then compares the query with the
stored vectors (float16) of the best 1000. Both files are mapped into memory, so that only what is read is loaded.

Parameters, measured by tools/benchmark.py: about 1.5 sqrt(N) cells balance the time to find the
cells with the time to scan them; one byte for 8 dimensions ranks the true neighbors among the first 1000, and comparing
these takes 2 ms. How many cells a query has to scan depends on how clearly the vectors are clustered: the index takes
the fewest that find 98 % of the neighbors of a sample, at most 1 of 8, and keeps the recall that it has measured.
"""
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from .index_files import STORED, VECTORS, import_faiss

# Number of vectors from which an index is compressed.
EXACT_BELOW = 500_000
# Vectors read at a time, at 512 dimensions 64 MB as float32.
BLOCK = 32_768
# Candidates of the compressed search that are compared exactly.
_COMPARED = 1000
# Parts of the cells that a query may scan, and the recall that is enough.
_SCANNED, _ENOUGH = (1 / 64, 1 / 32, 1 / 16, 1 / 8), .98
# Vectors by which the recall is measured.
_SAMPLE = 200


class ExactVectors:
    """N vectors in memory, all compared with each query.

    Args:
        index: FAISS index of the L2-normalized vectors.
    """

    def __init__(self, index: Any) -> None:
        self._index = index
        self.count, self.dimension = index.ntotal, index.d

    def search(self, queries: np.ndarray, top: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the highest cosines, float32 (Q, top), and their rows, int64 (Q, top).

        Args:
            queries: float32 (Q, D), L2-normalized.
            top: Number of vectors for each query, at most N.
        """
        # One thread scans 400 MB in 20 ms; several threads on a busy machine wait for each other much longer.
        with _threads(1 if len(queries) < 8 else None):
            return self._index.search(queries, top)

    def blocks(self) -> Iterator[np.ndarray]:
        """Return the vectors, float32 (n, D) at a time."""
        for begin in range(0, self.count, BLOCK):
            yield self._index.reconstruct_n(begin, min(BLOCK, self.count - begin))


class CompressedVectors:
    """N vectors on the disk, of which a query reads a small part.

    Args:
        index: FAISS index (IVF-PQ) of the L2-normalized vectors.
        path: File of the vectors, float16 (N, D).

    Raises:
        ValueError: The file does not fit the index.
    """

    def __init__(self, index: Any, path: Path) -> None:
        self._index, self._path = index, path
        self._stored = np.load(path, mmap_mode='r')
        if self._stored.dtype != np.float16 or self._stored.shape != (index.ntotal, index.d):
            raise ValueError(f'it has {index.ntotal} vectors of {index.d} dimensions, but {path.name} '
                             f'{self._stored.dtype} {self._stored.shape}')
        self.count, self.dimension = self._stored.shape

    def search(self, queries: np.ndarray, top: int) -> tuple[np.ndarray, np.ndarray]:
        """Return high cosines, float32 (Q, top), and their rows, int64 (Q, top).

        Where the scanned cells have fewer vectors than ``top``, all cells are scanned.

        Args:
            queries: float32 (Q, D), L2-normalized.
            top: Number of vectors for each query, at most N.
        """
        cosines, rows = np.empty((len(queries), top), np.float32), np.empty((len(queries), top), np.int64)
        with _threads(1 if len(queries) < 8 else None):
            candidates = self._candidates(queries, max(_COMPARED, 2 * top), self._index.nprobe)
            for place, query in enumerate(queries):
                found = candidates[place][candidates[place] >= 0]
                if len(found) < top:
                    found = self._candidates(query[None], max(_COMPARED, 2 * top), self._index.nlist)[0]
                    found = found[found >= 0]
                found.sort()  # in the order of the disk
                exact = self._stored[found].astype(np.float32) @ query
                best = np.argsort(-exact, kind='stable')[:top]
                cosines[place], rows[place] = exact[best], found[best]
        return cosines, rows

    def _candidates(self, queries: np.ndarray, count: int, cells: int) -> np.ndarray:
        parameters = import_faiss().SearchParametersIVF(nprobe=min(max(1, cells), self._index.nlist))
        rows = self._index.search(queries, min(count, self.count), params=parameters)[1]
        rows[rows >= self.count] = -1  # a file of somebody else may hold any number
        return rows

    def blocks(self) -> Iterator[np.ndarray]:
        """Return the vectors, float32 (n, D) at a time."""
        for begin in range(0, self.count, BLOCK):
            # Mapped anew each time, so that the memory of this process does not grow by what it has read.
            yield np.load(self._path, mmap_mode='r')[begin:begin + BLOCK].astype(np.float32)

    def choose_cells(self, sample: int, top: int = 10) -> float:
        """Set how many cells a query scans, and return the recall of the search.

        The recall is the part of the ``top`` nearest vectors of the exact search that is found. Some of the vectors are
        the queries; a query itself does not count.

        Args:
            sample: Number of queries.
            top: Number of neighbors.
        """
        rows = np.sort(np.random.default_rng(1).choice(self.count, sample, replace=False))
        queries, top, recall = self._stored[rows].astype(np.float32), min(top, self.count - 1), 0.
        expected = nearest(self.blocks(), queries, top + 1)
        for part in _SCANNED:
            self._index.nprobe = max(1, round(self._index.nlist * part))
            found = self.search(queries, top + 1)[1]
            hits = sum(len({*ours} & {*theirs} - {row})
                       for ours, theirs, row in zip(found, expected, rows, strict=True))
            recall = hits / (sample * top)
            if recall >= _ENOUGH:
                break
        return round(recall, 4)


def exact_vectors(blocks: Iterable[np.ndarray], dimension: int) -> ExactVectors:
    """Put vectors, float32 (n, D) at a time and L2-normalized, into memory."""
    index = import_faiss().IndexFlatIP(dimension)
    for block in blocks:
        index.add(np.ascontiguousarray(block, dtype=np.float32))
    return ExactVectors(index)


def write_vectors(folder: Path, blocks: Iterable[np.ndarray], count: int, dimension: int) -> dict:
    """Write the files of the vectors into a folder, compressed from :data:`EXACT_BELOW` vectors on.

    Args:
        folder: Folder of an unfinished index.
        blocks: The vectors, float (n, D) at a time and L2-normalized.
        count: Their number N.
        dimension: Their dimension D.

    Returns:
        What ``index.json`` says of the files: nothing of an exact index; of a compressed one, ``search='ivf-pq'``,
        ``recall_at_10`` against the exact search, ``recall_sample``, and the size of the file that is mapped.
    """
    faiss = import_faiss()
    if count < EXACT_BELOW:
        faiss.write_index(exact_vectors(blocks, dimension)._index, str(folder / VECTORS))
        return {}
    with (folder / STORED).open('wb') as file:
        np.lib.format.write_array_header_1_0(file, dict(descr='<f2', fortran_order=False, shape=(count, dimension)))
        for block in blocks:
            file.write(block.astype('<f2').tobytes())
    index = _compress(folder / STORED)
    vectors, sample = CompressedVectors(index, folder / STORED), min(_SAMPLE, count)
    recall = vectors.choose_cells(sample)
    faiss.write_index(index, str(folder / VECTORS))
    return dict(search='ivf-pq', recall_at_10=recall, recall_sample=sample,
                vectors_bytes=(folder / VECTORS).stat().st_size)


def _compress(path: Path) -> Any:
    """Return a FAISS index (IVF-PQ) of vectors in a file, float16 (N, D)."""
    faiss = import_faiss()
    count, dimension = np.load(path, mmap_mode='r').shape
    cells = 2 ** round(np.log2(1.5 * np.sqrt(count)))
    parts = next(number for number in range(max(1, dimension // 8), 0, -1) if dimension % number == 0)
    index = faiss.IndexIVFPQ(faiss.IndexFlatIP(dimension), dimension, cells, parts, 8, faiss.METRIC_INNER_PRODUCT)
    chosen = np.random.default_rng(0).choice(count, min(count, max(40 * cells, 10_000)), replace=False)
    with tqdm(total=count, desc='compressing', unit='vector', leave=False) as progress:
        index.train(np.load(path, mmap_mode='r')[np.sort(chosen)].astype(np.float32))
        for begin in range(0, count, BLOCK):
            index.add(np.load(path, mmap_mode='r')[begin:begin + BLOCK].astype(np.float32))
            progress.update(min(BLOCK, count - begin))
    return index


def nearest(blocks: Iterable[np.ndarray], queries: np.ndarray, top: int) -> np.ndarray:
    """Return the rows of the highest cosines, int64 (Q, top), by comparing each query with all vectors.

    Args:
        blocks: The vectors, float32 (n, D) at a time.
        queries: float32 (Q, D).
        top: Number of rows for each query.
    """
    cosines, rows = np.empty((len(queries), 0), np.float32), np.empty((len(queries), 0), np.int64)
    begin = 0
    for block in blocks:
        both = np.concatenate([cosines, queries @ block.T], axis=1)
        numbers = np.broadcast_to(np.arange(begin, begin + len(block)), (len(queries), len(block)))
        numbers = np.concatenate([rows, numbers], axis=1)
        best = np.argsort(-both, axis=1, kind='stable')[:, :top] if both.shape[1] <= 2 * top else _best(both, top)
        cosines, rows = (np.take_along_axis(values, best, axis=1) for values in (both, numbers))
        begin += len(block)
    return rows


def _best(values: np.ndarray, top: int) -> np.ndarray:
    best = np.argpartition(-values, top, axis=1)[:, :top]
    return np.take_along_axis(best, np.argsort(-np.take_along_axis(values, best, axis=1), axis=1), axis=1)


def read_vectors(folder: Path, mapped_bytes: int | None) -> ExactVectors | CompressedVectors:
    """Open the vectors of an index.

    Args:
        folder: Folder of the index.
        mapped_bytes: Size of the file of a compressed index, by ``index.json``; None if it is exact.

    Raises:
        ValueError: A file is damaged or of another kind.
    """
    faiss, path = import_faiss(), folder / VECTORS
    if mapped_bytes is None:
        index = faiss.read_index(str(path))
        if not isinstance(index, faiss.IndexFlatIP):
            raise ValueError(f'it is a {type(index).__name__} instead of an IndexFlatIP')
        return ExactVectors(index)
    if path.stat().st_size != mapped_bytes:  # reading a mapped file behind its end would kill the process
        raise ValueError(f'it has {path.stat().st_size} bytes instead of {mapped_bytes}')
    index = faiss.read_index(str(path), faiss.IO_FLAG_MMAP)
    if not isinstance(index, faiss.IndexIVFPQ):
        raise ValueError(f'it is a {type(index).__name__} instead of an IndexIVFPQ')
    return CompressedVectors(index, folder / STORED)


def normalized_blocks(vectors: Iterable[np.ndarray], name_of: Callable[[int], Any]) -> Iterator[np.ndarray]:
    """L2-normalize vectors, float (n, D) at a time.

    Args:
        vectors: The vectors.
        name_of: Name of the shape of a row, for the error.

    Raises:
        ValueError: A vector is zero or not finite.
    """
    begin = 0
    for block in vectors:
        block = np.asarray(block, dtype=np.float32)
        lengths = np.linalg.norm(block, axis=1, keepdims=True)
        wrong = np.flatnonzero(~np.isfinite(lengths) | (lengths == 0))
        if len(wrong):
            raise ValueError(f'the vector of shape {name_of(begin + int(wrong[0]))} is zero or not finite')
        yield block / lengths
        begin += len(block)


@contextmanager
def _threads(count: int | None) -> Iterator[None]:
    """Limit FAISS to ``count`` threads inside the block; None changes nothing."""
    faiss = import_faiss()
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(count or before)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)
