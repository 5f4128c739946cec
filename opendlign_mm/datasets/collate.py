"""Batches of shapes, made in the process that reads them."""
from collections.abc import Sequence
from typing import Any

import torch
from mmengine.registry import FUNCTIONS
from torch import Tensor
from torch.utils.data import default_collate


@FUNCTIONS.register_module()
def collate_shapes(samples: Sequence[dict]) -> dict[str, Any]:
    """Collate samples of :class:`PackShapeInputs`: one tensor per kind of input.

    A data worker hands each tensor over through a file descriptor of its own. With mmengine's ``pseudo_collate``, which
    leaves a tensor per object, many workers with large batches run out of them.

    Returns:
        dict: ``inputs``, dict of tensors with the batch as first dimension; ``data_samples``, list.

    Raises:
        ValueError: Samples have different inputs, or inputs of different shapes; the message names two of them.
    """
    if not isinstance(samples[0], dict) or not isinstance(samples[0].get('inputs'), dict):
        raise ValueError(f'collate_shapes takes samples of PackShapeInputs, got a {type(samples[0]).__name__}')
    keys = samples[0]['inputs'].keys()
    for sample in samples:
        if sample['inputs'].keys() != keys:
            raise ValueError(f'{_name(samples[0])} has the inputs {", ".join(keys)}, and {_name(sample)} '
                             f'{", ".join(sample["inputs"])}: all samples of a batch need the same')
    return dict(inputs={key: _stacked(key, samples) for key in keys},
                data_samples=[sample['data_samples'] for sample in samples])


def _stacked(key: str, samples: Sequence[dict]) -> Tensor:
    tensors = [sample['inputs'][key] for sample in samples]
    odd = next((sample for sample in samples if sample['inputs'][key].shape != tensors[0].shape), None)
    if odd is not None:
        shapes = [tuple(sample['inputs'][key].shape) for sample in (samples[0], odd)]
        raise ValueError(f"'{key}' of {_name(samples[0])} has the shape {shapes[0]}, that of {_name(odd)} {shapes[1]}: "
                         'use one resolution and one number of views')
    if len({tensor.dtype for tensor in tensors}) > 1:  # whole 255ths next to other floats
        tensors = [tensor.float() / 255 if tensor.dtype == torch.uint8 else tensor.float() for tensor in tensors]
    return default_collate(tensors)  # in a worker straight into shared memory


def _name(sample: dict) -> str:
    return str(getattr(sample['data_samples'], 'sample_id', None) or 'an object')
