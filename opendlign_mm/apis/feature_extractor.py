"""Embed shapes: one vector for each, whose cosines with texts, images and other shapes rank by likeness."""
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..atomic_files import atomic_write
from ..datasets.collate import collate_shapes
from .point_inferencer import LoadedInput
from .shape_inferencer import ShapeInferencer

SUFFIXES = ('.npy', '.parquet')


class FeatureExtractor(ShapeInferencer):
    """Encoder of single objects; arguments and errors are those of :class:`ShapeInferencer`."""

    forward_kwargs: set = set()
    visualize_kwargs: set = set()
    postprocess_kwargs = {'out_file'}

    def __call__(self, inputs: Any, batch_size: int = 8, out_file: str | Path = '', **kwargs) -> dict:  # type: ignore
        """Embed shapes.

        Args:
            inputs: As for :class:`ShapeInferencer`.
            batch_size: Number of shapes at a time.
            out_file: File to write. ``.npy``: the embeddings, and next to it ``.json`` with the ``inputs`` of its rows
                and the ``errors`` of the others. ``.parquet`` (needs pyarrow): the columns ``input``, ``embedding`` and
                ``error``, one row for each input.
            kwargs: ``up`` and ``dims``, as for :class:`ShapeInferencer`.

        Returns:
            ``embeddings``: float32 (M, D), L2-normalized, of the M inputs that can be used; ``inputs``: their names;
            ``predictions``: for each input ``dict(input, embedding)`` or ``dict(input, error)``.

        Raises:
            ValueError: ``out_file`` has another ending, or no input is found.
        """
        if out_file and (Path(out_file).suffix not in SUFFIXES or Path(out_file).is_dir()):
            raise ValueError(f'out_file must end in {" or ".join(SUFFIXES)}, got {str(out_file)!r}')
        return super(ShapeInferencer, self).__call__(inputs, batch_size, out_file=out_file, **kwargs)

    @torch.no_grad()
    def forward(self, inputs: list[LoadedInput]) -> list[dict]:  # type: ignore[override]
        """Embed one batch; return a prediction of each input."""
        readable = [each.data for each in inputs if not each.error]
        embeddings = iter(())
        if readable:
            batch = self.model.data_preprocessor(collate_shapes(readable))
            embeddings = iter(self.model.embed_shapes(batch['inputs']['depth_views']).cpu().numpy())
        return [dict(input=each.name, error=each.error) if each.error
                else dict(input=each.name, embedding=next(embeddings)) for each in inputs]

    def _begin(self, out_dir: str | Path = '', **kwargs) -> None:
        self.page = None

    def visualize(self, inputs: list[LoadedInput], preds: list[dict]) -> list:  # type: ignore[override]
        """Return nothing: embeddings have no picture."""
        return []

    def postprocess(self, preds: list[dict], visualization: list, return_datasample: bool = False,
                    out_file: str | Path = '') -> dict:
        """Return the results; write them to ``out_file``, if one is given."""
        good = [each for each in preds if 'embedding' in each]
        size = self.model.backbone.embed_dim
        embeddings = np.stack([each['embedding'] for each in good]) if good else np.zeros((0, size), np.float32)
        if out_file:
            write_embeddings(preds, embeddings, Path(out_file).expanduser())
        return dict(embeddings=embeddings, inputs=[each['input'] for each in good], predictions=preds)


def write_embeddings(predictions: list[dict], embeddings: np.ndarray, path: Path) -> None:
    """Write embeddings with the names of their inputs, each file whole or not at all.

    Args:
        predictions: For each input ``dict(input, embedding)`` or ``dict(input, error)``.
        embeddings: Float32 (M, D) of the M inputs without an error.
        path: File, see :meth:`FeatureExtractor.__call__`.
    """
    if path.suffix == '.npy':
        about = dict(inputs=[each['input'] for each in predictions if 'error' not in each],
                     errors={each['input']: each['error'] for each in predictions if 'error' in each})
        with atomic_write(path.with_suffix('.json')) as unfinished:
            unfinished.write_text(json.dumps(about, indent=1) + '\n', encoding='utf-8')
        with atomic_write(path) as unfinished:
            np.save(unfinished, embeddings)
        return
    import pyarrow as pa
    import pyarrow.parquet as parquet
    columns = dict(
        input=pa.array([each['input'] for each in predictions], pa.string()),
        embedding=pa.array([each.get('embedding') for each in predictions], pa.list_(pa.float32())),
        error=pa.array([each.get('error') for each in predictions], pa.string()))
    with atomic_write(path) as unfinished:
        parquet.write_table(pa.table(columns), str(unfinished))
