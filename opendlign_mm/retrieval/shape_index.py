"""Index of shape embeddings with metadata and thumbnails, searched by cosine."""
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from mmengine.config import Config

from ..atomic_files import atomic_folder
from . import index_files
from .index_files import ABOUT, CONFIG, SHAPES, THUMBNAILS, VECTORS, import_faiss, read


class ShapeIndex:
    """Exact index of N shapes, searched by cosine.

    The folder of a saved index has ``vectors.faiss`` (embeddings), ``shapes.jsonl`` (a line of metadata per shape),
    ``thumbnails.npy`` (a depth view of each shape, mapped into memory), ``config.json`` (config of the model) and
    ``index.json`` (checkpoint, identity of the CLIP, and how the embeddings were made). None of these files is run as
    code, so that an index of somebody else can be searched.

    Args:
        vectors: float (N, D), finite; L2-normalized here.
        shapes: N dicts of metadata that JSON can hold.
        thumbnails: uint8 (N, h, w), a depth view of each shape.
        about: Facts about the model and the dataset, of types that JSON can hold.
        config: Config of the model that made the vectors.

    Raises:
        ValueError: There are no vectors, one is zero or not finite, or the numbers of vectors, metadata and thumbnails
            differ.
    """

    def __init__(self, vectors: np.ndarray, shapes: list[dict], thumbnails: np.ndarray, about: dict,
                 config: Config) -> None:
        faiss = import_faiss()
        vectors = np.array(vectors, dtype=np.float32)
        if vectors.ndim != 2 or not vectors.size:
            raise ValueError(f'an index needs at least one vector, as an array (N, D), got {vectors.shape}')
        if not len(vectors) == len(shapes) == len(thumbnails):
            raise ValueError(f'{len(vectors)} vectors, but metadata of {len(shapes)} and thumbnails of '
                             f'{len(thumbnails)}')
        lengths = np.linalg.norm(vectors, axis=1)
        wrong = np.flatnonzero(~np.isfinite(lengths) | (lengths == 0))
        if len(wrong):
            raise ValueError(f'the vector of shape {shapes[wrong[0]]} is zero or not finite')
        self._faiss = faiss.IndexFlatIP(vectors.shape[1])
        self._faiss.add(vectors / lengths[:, None])
        self.shapes, self.thumbnails, self.about, self.config = shapes, thumbnails, about, config

    def __len__(self) -> int:
        """Return N, the number of shapes."""
        return self._faiss.ntotal

    @property
    def dimension(self) -> int:
        """D, the number of dimensions of an embedding."""
        return self._faiss.d

    def search(self, queries: np.ndarray, top: int = 5) -> tuple[np.ndarray, np.ndarray]:
        """Find the shapes with the highest cosines.

        Args:
            queries: float (Q, D), not zero.
            top: Number of shapes k for each query; at most N are returned.

        Returns:
            Cosines float32 (Q, k) in descending order, and rows int64 (Q, k) of ``shapes`` and ``thumbnails``.

        Raises:
            ValueError: The queries have another dimension, one is zero or not finite, or ``top`` is below 1.
        """
        queries = np.array(queries, dtype=np.float32)
        if queries.ndim != 2 or queries.shape[1] != self.dimension:
            raise ValueError(f'queries must have shape (Q, {self.dimension}), got {queries.shape}')
        if top < 1:
            raise ValueError(f'top must be >= 1, got {top}')
        lengths = np.linalg.norm(queries, axis=1, keepdims=True)
        if not (np.isfinite(lengths) & (lengths > 0)).all():
            raise ValueError('a query is zero or not finite')
        # One thread scans 400 MB in 20 ms; several threads on a busy machine wait for each other much longer.
        with _threads(1 if len(queries) < 8 else None):
            return self._faiss.search(queries / lengths, min(top, len(self)))

    def save(self, folder: str | Path) -> Path:
        """Write the folder, complete or not at all; an existing index is replaced.

        Raises:
            ValueError: ``folder`` exists and is not an index.
        """
        faiss = import_faiss()
        index_files.check_is_index_or_free(folder)
        with atomic_folder(folder) as unfinished:
            faiss.write_index(self._faiss, str(unfinished / VECTORS))
            with (unfinished / SHAPES).open('w') as file:
                file.writelines(json.dumps(shape) + '\n' for shape in self.shapes)
            np.save(unfinished / THUMBNAILS, self.thumbnails)
            (unfinished / CONFIG).write_text(index_files.config_as_json(self.config))
            (unfinished / ABOUT).write_text(json.dumps(
                dict(self.about, num_shapes=len(self), dimension=self.dimension), indent=1) + '\n')
        return Path(folder)

    @classmethod
    def load(cls, folder: str | Path) -> 'ShapeIndex':
        """Read an index that :meth:`save` wrote.

        Raises:
            FileNotFoundError: The folder or one of its files is missing.
            ValueError: A file is damaged or does not belong to the others; the message names it.
        """
        folder = Path(folder)
        index_files.check_complete(folder)
        index = cls.__new__(cls)
        index.about = read(folder / ABOUT, index_files.read_about)
        index.config = read(folder / CONFIG, index_files.read_config)
        index.shapes = read(folder / SHAPES, index_files.read_shapes)
        index.thumbnails = read(folder / THUMBNAILS, index_files.read_thumbnails)
        index._faiss = read(folder / VECTORS, index_files.read_vectors)
        for name, count in ((VECTORS, len(index)), (SHAPES, len(index.shapes)), (THUMBNAILS, len(index.thumbnails))):
            if count != index.about['num_shapes']:
                raise ValueError(f'{folder / name} is damaged, build the index again: it has {count} shapes, '
                                 f'{ABOUT} says {index.about["num_shapes"]}')
        return index


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
