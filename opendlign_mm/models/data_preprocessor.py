"""Data preprocessor: batches of views as float tensors on the device of the model."""
from collections.abc import Sequence

import torch
from mmdet3d.registry import MODELS
from mmengine.model import BaseDataPreprocessor


@MODELS.register_module()
class ViewDataPreprocessor(BaseDataPreprocessor):
    """Stacks the views of the samples of a batch; pixel normalization belongs to the backbone."""

    def forward(self, data: dict, training: bool = False) -> dict:
        """Stack, move and scale the inputs of a batch.

        Args:
            data: Batch of a data loader. ``inputs`` has per sample ``depth_views`` (V, H, W) and optionally ``images``
                (V, 3, H, W), each float in [0, 1] or uint8, or ``image_features`` float (V, D). ``data_samples`` is
                optional.
            training: Not used.

        Returns:
            ``inputs``: dict with ``depth_views`` (B, V, H, W), ``images`` (B, V, 3, H, W) and ``image_features``
            (B, V, D), as far as they were given, float32, uint8 pixels divided by 255. ``data_samples``: the list of
            samples, or None.

        Raises:
            ValueError: The samples of the batch differ in shape or in the inputs that they have.
        """
        inputs = data['inputs']
        if isinstance(inputs, Sequence):  # one dict per sample
            keys = set(inputs[0])
            if any(set(sample) != keys for sample in inputs):
                found = sorted({', '.join(sorted(sample)) for sample in inputs})
                raise ValueError(f'the samples of a batch have different inputs: {found}')
            inputs = {key: [sample[key] for sample in inputs] for key in inputs[0]}
        samples = data.get('data_samples')
        stacked = {key: self._batch(key, value, samples) for key, value in inputs.items()}
        return dict(inputs=stacked, data_samples=self.cast_data(samples))

    def _batch(self, key: str, values: torch.Tensor | Sequence[torch.Tensor], samples: Sequence | None) -> torch.Tensor:
        if not isinstance(values, torch.Tensor):
            shapes = sorted({tuple(value.shape) for value in values})
            if len(shapes) > 1:
                odd = next(index for index, value in enumerate(values) if value.shape != values[0].shape)
                names = [getattr(samples[index], 'sample_id', index) if samples else index for index in (0, odd)]
                raise ValueError(f"'{key}' of one batch must have one shape, got {shapes}, first in samples {names[0]} "
                                 f'and {names[1]}; use one resolution and one number of views for all samples')
            if len({value.dtype for value in values}) > 1:  # torch.stack would take bytes for floats
                values = [_unit_floats(value) for value in values]
            values = torch.stack(list(values))
        # uint8 is a quarter of the bytes to move.
        return _unit_floats(values.to(self.device, non_blocking=self._non_blocking))


def _unit_floats(values: torch.Tensor) -> torch.Tensor:
    """Return pixels as float32, bytes divided by 255."""
    if values.dtype != torch.uint8:
        return values.float()
    # By a tensor: CUDA multiplies by the rounded reciprocal of a number, and pixels would differ from those of the CPU.
    return values.float() / torch.tensor(255., device=values.device)
