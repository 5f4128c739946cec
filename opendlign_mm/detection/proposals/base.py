"""The common result of all proposal sources, and checks that they share."""
import torch
from mmdet3d.structures import BaseInstance3DBoxes, DepthInstance3DBoxes
from mmengine.structures import InstanceData
from torch import Tensor


def make_proposals(boxes: BaseInstance3DBoxes, objectness: Tensor) -> InstanceData:
    """Return the result of a proposal source.

    Args:
        boxes: K class-agnostic boxes.
        objectness: Float (K,) in [0, 1].

    Returns:
        ``bboxes_3d`` and ``objectness``.
    """
    proposals = InstanceData()
    proposals.bboxes_3d = boxes
    proposals.objectness = objectness
    return proposals


def check_colors(colors: Tensor) -> None:
    """Check that columns of points are colors.

    Args:
        colors: Float (N, 3), r, g, b in [0, 255] or [0, 1].

    Raises:
        ValueError: Values are not finite or outside [0, 255].
    """
    bad = int((~torch.isfinite(colors)).any(dim=1).sum())
    if bad:
        raise ValueError(f'{bad} of {len(colors)} points have non-finite colors; remove them or load x, y, z only '
                         '(use_dim=[0, 1, 2])')
    if colors.min() < 0 or colors.max() > 255:
        raise ValueError('the columns after x, y, z must be r, g, b in [0, 255] or [0, 1], got values from '
                         f'{colors.min():g} to {colors.max():g}; load other columns (use_dim) or x, y, z only')


def no_proposals(points: Tensor) -> InstanceData:
    """Return an empty result on the device of ``points``."""
    return make_proposals(DepthInstance3DBoxes(points.new_zeros(0, 7)), points.new_zeros(0))
