"""Shape embeddings, what they are of, and the search among them."""
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from mmengine.config import Config

from ..atomic_files import atomic_folder

VECTORS, SHAPES, THUMBNAILS = 'vectors.faiss', 'shapes.jsonl', 'thumbnails.npy'
ABOUT, CONFIG = 'index.json', 'config.py'


def _faiss():
    """The FAISS module, which is a requirement of retrieval alone."""
    try:
        import faiss
    except ImportError as error:
        raise ImportError("retrieval needs FAISS: pip install faiss-cpu, or 'opendlign_mm[retrieval]'") from error
    return faiss


class ShapeIndex:
    """An exact index of N shapes by cosine.

    As a folder it holds ``vectors.faiss`` (the embeddings), ``shapes.jsonl`` (a line of metadata for each),
    ``thumbnails.npy`` (a depth view of each, read only where it is shown), ``config.py`` (the model's config) and
    ``index.json`` (the checkpoint, the CLIP's identity and how the embeddings were made).

    Args:
        vectors: float (N, D), finite; L2-normalized here.
        shapes: N dicts of metadata that JSON can hold.
        thumbnails: uint8 (N, h, w), a depth view of each shape.
        about: What made the vectors; any values that JSON can hold.
        config: Config of the model that made the vectors.

    Raises:
        ValueError: There is no vector, one is not finite or zero, or the numbers differ.
    """

    def __init__(self, vectors: np.ndarray, shapes: list[dict], thumbnails: np.ndarray, about: dict,
                 config: Config) -> None:
        faiss = _faiss()
        vectors = np.array(vectors, dtype=np.float32)
        if vectors.ndim != 2 or not vectors.size:
            raise ValueError(f'an index needs at least one vector, as an array (N, D), got {vectors.shape}')
        if not len(vectors) == len(shapes) == len(thumbnails):
            raise ValueError(f'{len(vectors)} vectors, but metadata of {len(shapes)} and pictures of {len(thumbnails)}')
        lengths = np.linalg.norm(vectors, axis=1)
        wrong = np.flatnonzero(~np.isfinite(lengths) | (lengths == 0))
        if len(wrong):
            raise ValueError(f'the vector of shape {shapes[wrong[0]]} is zero or not finite')
        self._faiss = faiss.IndexFlatIP(vectors.shape[1])
        self._faiss.add(vectors / lengths[:, None])
        self.shapes, self.thumbnails, self.about, self.config = shapes, thumbnails, about, config

    def __len__(self) -> int:
        return self._faiss.ntotal

    @property
    def dimension(self) -> int:
        return self._faiss.d

    def search(self, queries: np.ndarray, top: int = 5) -> tuple[np.ndarray, np.ndarray]:
        """The shapes with the highest cosines.

        Args:
            queries: float (Q, D), any length but zero.
            top: k, shapes for each query; at most N are given.

        Returns:
            cosines float32 (Q, k), falling, and rows int64 (Q, k) of ``shapes`` and ``thumbnails``.

        Raises:
            ValueError: Another dimension, a query that is zero or not finite, or ``top`` below 1.
        """
        queries = np.array(queries, dtype=np.float32)
        if queries.ndim != 2 or queries.shape[1] != self.dimension:
            raise ValueError(f'queries must have shape (Q, {self.dimension}), got {queries.shape}')
        if top < 1:
            raise ValueError(f'top must be >= 1, got {top}')
        lengths = np.linalg.norm(queries, axis=1, keepdims=True)
        if not (np.isfinite(lengths) & (lengths > 0)).all():
            raise ValueError('a query is zero or not finite')
        # One thread reads 400 MB in 20 ms; several on a machine with other work wait for each other far longer.
        with _threads(1 if len(queries) < 8 else None):
            return self._faiss.search(queries / lengths, min(top, len(self)))

    def save(self, folder: str | Path) -> Path:
        """Write the folder, whole or not at all; an index that is there is replaced.

        Raises:
            ValueError: ``folder`` exists and is no index.
        """
        faiss = _faiss()
        check_is_index_or_free(folder)
        with atomic_folder(folder) as unfinished:
            faiss.write_index(self._faiss, str(unfinished / VECTORS))
            with (unfinished / SHAPES).open('w') as file:
                file.writelines(json.dumps(shape) + '\n' for shape in self.shapes)
            np.save(unfinished / THUMBNAILS, self.thumbnails)
            self.config.dump(str(unfinished / CONFIG))
            (unfinished / ABOUT).write_text(json.dumps(
                dict(self.about, num_shapes=len(self), dimension=self.dimension), indent=1) + '\n')
        return Path(folder)

    @classmethod
    def load(cls, folder: str | Path) -> 'ShapeIndex':
        """Read what :meth:`save` wrote.

        Raises:
            FileNotFoundError: The folder, or a file of it, is missing.
            ValueError: A file is damaged, or does not belong to the others; the message names it.
        """
        faiss = _faiss()
        folder = Path(folder)
        missing = [name for name in (ABOUT, VECTORS, SHAPES, THUMBNAILS, CONFIG) if not (folder / name).is_file()]
        if missing:
            raise FileNotFoundError(f'{folder} is no index of shapes: it has no {", ".join(missing)}. Make one with '
                                    'tools/retrieve.py build')
        index, name = cls.__new__(cls), ABOUT
        try:
            index.about = json.loads((folder / ABOUT).read_text())
            name = SHAPES
            index.shapes = [json.loads(line) for line in (folder / SHAPES).read_text().splitlines()]
            name = THUMBNAILS
            index.thumbnails = np.load(folder / THUMBNAILS, mmap_mode='r')
            name = VECTORS
            index._faiss = faiss.read_index(str(folder / VECTORS))
        except (ValueError, RuntimeError, EOFError, OSError) as error:  # FAISS raises RuntimeError
            raise ValueError(f'{folder / name} is damaged, build the index again: {error}') from error
        for name, count in ((VECTORS, len(index)), (SHAPES, len(index.shapes)), (THUMBNAILS, len(index.thumbnails))):
            if count != index.about.get('num_shapes'):
                raise ValueError(f'{folder / name} is damaged, build the index again: it has {count} shapes, '
                                 f'{ABOUT} says {index.about.get("num_shapes")}')
        index.config = Config.fromfile(folder / CONFIG)
        return index


@contextmanager
def _threads(count: int | None) -> Iterator[None]:
    """Let FAISS use ``count`` threads within the block; None leaves it as it is."""
    faiss = _faiss()
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(count or before)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)


def check_is_index_or_free(folder: str | Path) -> None:
    """Raise ``ValueError`` unless an index can be written to ``folder`` without losing anything but an index."""
    folder = Path(folder)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir()) and not (folder / ABOUT).is_file()):
        raise ValueError(f'{folder} exists and is no index of shapes; give another place')
