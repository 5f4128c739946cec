"""Losses and scores stay in float32 inside autocast."""
import torch


def full_precision(tensor: torch.Tensor) -> torch.autocast:
    """Context manager that switches autocast off on the device of ``tensor``.

    A cosine rounded to bfloat16 has steps of 1/256; times a logit scale of 100 that is a loss of nonsense.
    """
    return torch.autocast(device_type=tensor.device.type, enabled=False)
