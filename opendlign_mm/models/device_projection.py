"""Depth views made on the device of the model, from batches of points."""
from collections.abc import Callable

from mmdet3d.registry import MODELS

from ..projection import build_projection
from .pixels import PointDataPreprocessor


@MODELS.register_module()
class ProjectingDataPreprocessor(PointDataPreprocessor):
    """Moves the points of a batch to the device of the model and projects them there to depth views.

    A GPU projects faster than many data workers, which then only read points: the pipeline has
    ``PackPointInputs(use_colors=False)`` in the place of ``ProjectPointsToDepth`` and ``PackShapeInputs``. Views of
    different backends differ by rounding, and those of ``DiskCache`` are whole 255ths.

    Args:
        projection: Arguments of a projection, or a callable; see :func:`.projection.build_projection`. It should be
            that of the model's alignment.
        kwargs: Arguments of mmengine's ``BaseDataPreprocessor``.
    """

    def __init__(self, projection: dict | Callable | None = None, **kwargs) -> None:
        super().__init__(**kwargs)
        self.projection = build_projection(projection)

    def forward(self, data: dict, training: bool = False) -> dict:
        """Stack and move the inputs of a batch, and project the points.

        Args:
            data: Batch of a data loader with ``points`` float (N, 3) of each sample, see
                :meth:`PointDataPreprocessor.forward`.
            training: Not used.

        Returns:
            As for :class:`ViewDataPreprocessor`: in the place of ``points`` stand ``depth_views``, float32
            (B, V, H, W) in [0, 1].

        Raises:
            ValueError: There are no points, or colors, or points cannot be projected.
        """
        batch = super().forward(data, training)
        inputs = batch['inputs']
        if 'points' not in inputs or 'depth_views' in inputs or 'colors' in inputs:
            raise ValueError('ProjectingDataPreprocessor projects the points of samples without views and colors, got '
                             f'{", ".join(sorted(inputs))}; end the pipeline with PackPointInputs(use_colors=False)')
        points = inputs.pop('points')
        try:
            inputs['depth_views'] = self.projection(points)
        except ValueError as error:  # the projection knows no samples
            names = [str(getattr(sample, 'sample_id', '?')) for sample in batch['data_samples'] or ()]
            raise ValueError(f'{error} (the batch: {", ".join(names) or len(points)})') from error
        return batch
