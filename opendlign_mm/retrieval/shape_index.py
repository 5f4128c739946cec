"""Index of shape embeddings with metadata and thumbnails, searched by cosine."""
import json
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from mmengine.config import Config

from ..atomic_files import atomic_folder
from . import index_files
from .index_files import ABOUT, CONFIG, SHAPES, THUMBNAILS, VECTORS, ShapeLines, read
from .vectors import exact_vectors, normalized_blocks, read_vectors, write_vectors

# Facts in ``index.json`` about its files, which each saving finds anew.
_OF_THE_FILES = ('num_shapes', 'dimension', 'search', 'recall_at_10', 'recall_sample', 'vectors_bytes')


class ShapeIndex:
    """Index of N shapes, searched by cosine.

    The search compares a query with all shapes. A folder of 500,000 shapes or more is compressed, and its
    search finds nearly all of what the exact one finds; :meth:`describe` tells which and how many.

    The folder of a saved index has ``vectors.faiss`` (embeddings; with ``vectors.npy`` if it is compressed),
    ``shapes.jsonl`` (a line of metadata per shape),
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
        vectors = np.asarray(vectors, dtype=np.float32)
        if vectors.ndim != 2 or not vectors.size:
            raise ValueError(f'an index needs at least one vector, as an array (N, D), got {vectors.shape}')
        if not len(vectors) == len(shapes) == len(thumbnails):
            raise ValueError(f'{len(vectors)} vectors, but metadata of {len(shapes)} and thumbnails of '
                             f'{len(thumbnails)}')
        self._vectors = exact_vectors(normalized_blocks([vectors], shapes.__getitem__), vectors.shape[1])
        self.shapes: Sequence[dict] = shapes
        self.thumbnails, self.about, self.config = thumbnails, about, config

    def __len__(self) -> int:
        """Return N, the number of shapes."""
        return self._vectors.count

    @property
    def dimension(self) -> int:
        """D, the number of dimensions of an embedding."""
        return self._vectors.dimension

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
        return self._vectors.search(queries / lengths, min(top, len(self)))

    def describe(self) -> str:
        """Return one line about the kind of the search and, if it is not exact, its recall."""
        if 'vectors_bytes' not in self.about:
            return f'exact search among {len(self):,} shapes'
        return (f'compressed search (IVF-PQ) among {len(self):,} shapes: finds {self.about["recall_at_10"]:.1%} of the '
                f'10 nearest of the exact search (recall@10, measured with {self.about["recall_sample"]} of the shapes '
                'as queries)')

    def save(self, folder: str | Path) -> Path:
        """Write the folder, complete or not at all; an existing index is replaced.

        Raises:
            ValueError: ``folder`` exists and is not an index.
        """
        about = {key: value for key, value in self.about.items() if key not in _OF_THE_FILES}
        return write_folder(folder, self._vectors.blocks(), (len(self), self.dimension), self.shapes, self.thumbnails,
                            about, self.config)

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
        index.about = about = read(folder / ABOUT, index_files.read_about)
        index.config = read(folder / CONFIG, index_files.read_config)
        compressed = 'vectors_bytes' in about
        index.shapes = read(folder / SHAPES, ShapeLines if compressed else index_files.read_shapes)
        index.thumbnails = read(folder / THUMBNAILS, index_files.read_thumbnails)
        index._vectors = read(folder / VECTORS, lambda _: read_vectors(folder, about.get('vectors_bytes')))
        for name, count in ((VECTORS, len(index)), (SHAPES, len(index.shapes)), (THUMBNAILS, len(index.thumbnails))):
            if count != about['num_shapes']:
                raise ValueError(f'{folder / name} is damaged, build the index again: it has {count} shapes, '
                                 f'{ABOUT} says {about["num_shapes"]}')
        return index


def write_folder(folder: str | Path, vectors: Iterable[np.ndarray], size: tuple[int, int], shapes: Iterable[dict],
                 thumbnails: Iterable[np.ndarray], about: dict, config: Config) -> Path:
    """Write the folder of an index, complete or not at all; an existing index is replaced.

    Its parts are taken one after the other, so that an index may be larger than the memory.

    Args:
        folder: Folder of the index.
        vectors: float32 (n, D) at a time, L2-normalized.
        size: Number of shapes N, dimension of the vectors D.
        shapes: Metadata of each shape.
        thumbnails: uint8 (h, w) of each shape.
        about: Facts about the model and the dataset.
        config: Config of the model.

    Raises:
        ValueError: ``folder`` exists and is not an index.
    """
    index_files.check_is_index_or_free(folder)
    with atomic_folder(folder) as unfinished:
        of_the_files = write_vectors(unfinished, vectors, *size)
        with (unfinished / SHAPES).open('w') as file:
            file.writelines(json.dumps(shape) + '\n' for shape in shapes)
        with (unfinished / THUMBNAILS).open('wb') as file:
            for row, thumbnail in enumerate(thumbnails):
                if not row:
                    np.lib.format.write_array_header_1_0(file, dict(
                        descr='|u1', fortran_order=False, shape=(size[0], *thumbnail.shape)))
                file.write(np.asarray(thumbnail, dtype=np.uint8).tobytes())
        (unfinished / CONFIG).write_text(index_files.config_as_json(config))
        (unfinished / ABOUT).write_text(json.dumps(
            dict(about, num_shapes=size[0], dimension=size[1], **of_the_files), indent=1) + '\n')
    return Path(folder)
