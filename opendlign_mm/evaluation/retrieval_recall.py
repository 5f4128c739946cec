"""Recall of cross-modal retrieval: how often an image finds its shape, and a shape its image."""
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from mmdet3d.registry import METRICS
from mmengine.evaluator import BaseMetric

ROUNDING = 1e-6  # float32 cosines of equal vectors may differ by this much


@METRICS.register_module()
class RetrievalRecall(BaseMetric):
    """Recall at k between images and shapes, in both directions, in percent.

    Each object is a pair of an image embedding and a shape embedding; a query is right at k if its own partner is among
    the k embeddings of the whole test set with the highest cosines. Equal cosines count against the query, so that a
    model with the same embedding for every object scores 0. A k above the number of objects counts as that number.

    Metrics: ``image_to_shape_R@{k}``, ``shape_to_image_R@{k}`` and ``num_samples``.

    The model needs ``OpenDlign(return_embeddings=True)`` and a test pipeline with images.

    Args:
        topk: Values of k.
        collect_device: Device on which mmengine collects the results of several processes.
        prefix: Prefix of the metric names.
    """

    default_prefix = 'retrieval'

    def __init__(self, topk: Sequence[int] = (1, 5, 10), collect_device: Literal['cpu', 'gpu'] = 'cpu',
                 prefix: str | None = None) -> None:
        super().__init__(collect_device=collect_device, prefix=prefix)
        topk = (topk, ) if isinstance(topk, int) else tuple(topk)
        if not topk or min(topk) < 1:
            raise ValueError(f'topk must be numbers >= 1, got {topk}')
        self.topk = topk

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Keep the two embeddings of each sample.

        Raises:
            ValueError: An embedding is missing or not finite; the message names the sample.
        """
        for sample in data_samples:
            result = {}
            for field in ('image_embedding', 'depth_embedding'):
                name = sample.get('sample_id', '?')
                if field not in sample:
                    raise ValueError(f'sample {name} has no {field}: set return_embeddings=True in the model and let '
                                     'the test pipeline load or make images')
                result[field] = sample[field].detach().float().cpu().numpy()
                if not np.isfinite(result[field]).all():
                    raise ValueError(f'{field} of sample {name} is not finite')
            self.results.append(result)

    def compute_metrics(self, results: list[dict]) -> dict[str, float]:
        """Compute the recalls over all samples."""
        if not results:
            raise ValueError('there are no samples to evaluate')
        images, shapes = (np.stack([result[field] for result in results])
                          for field in ('image_embedding', 'depth_embedding'))
        metrics = {}
        for name, queries, gallery in (('image_to_shape', images, shapes), ('shape_to_image', shapes, images)):
            ranks = partner_ranks(queries, gallery)
            metrics.update({f'{name}_R@{k}': float((ranks < min(k, len(ranks))).mean() * 100) for k in self.topk})
        return dict(metrics, num_samples=float(len(results)))


def partner_ranks(queries: np.ndarray, gallery: np.ndarray, block: int = 1024) -> np.ndarray:
    """Return the rank of each query's partner: the number of other gallery rows with a cosine at least as high.

    Args:
        queries: float (N, D); row i belongs to row i of ``gallery``.
        gallery: float (N, D).
        block: Number of queries compared at a time, which bounds the memory to ``block`` x N cosines.

    Returns:
        int (N,), 0 is best.
    """
    queries, gallery = (rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
                        for rows in (queries, gallery))
    ranks = []
    for start in range(0, len(queries), block):
        cosines = queries[start:start + block] @ gallery.T
        own = cosines[np.arange(len(cosines)), np.arange(start, start + len(cosines))]
        ranks.append((cosines >= own[:, None] - ROUNDING).sum(axis=1) - 1)
    return np.concatenate(ranks)
