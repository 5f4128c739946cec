"""What every proposal source gives, and the checks they share."""
import torch
from mmdet3d.structures import BaseInstance3DBoxes, DepthInstance3DBoxes
from mmengine.structures import InstanceData
from torch import Tensor


class BrokenSceneError(ValueError):
    """A scene whose points or boxes cannot be used; other scenes of the data set may well be."""


def make_proposals(boxes: BaseInstance3DBoxes, objectness: Tensor) -> InstanceData:
    """Class-agnostic boxes with their objectness.

    Args:
        boxes (BaseInstance3DBoxes): K boxes.
        objectness (Tensor): float (K,) in [0, 1].

    Returns:
        InstanceData: ``bboxes_3d`` and ``objectness``.
    """
    proposals = InstanceData()
    proposals.bboxes_3d = boxes
    proposals.objectness = objectness
    return proposals


def no_proposals(points: Tensor) -> InstanceData:
    """Not one box, on the device of ``points``."""
    return make_proposals(DepthInstance3DBoxes(points.new_zeros(0, 7)), points.new_zeros(0))


def check_points(points: Tensor, name: str = 'scene') -> None:
    """Check that ``points`` is a usable point cloud: float (N, >=3), N > 0, finite coordinates.

    Raises:
        TypeError: if it is no floating point tensor.
        BrokenSceneError: no points, or non-finite coordinates; the message counts them.
        ValueError: for another shape.
    """
    if not isinstance(points, Tensor) or not points.is_floating_point():
        raise TypeError(f'{name}: points must be a floating point tensor, got '
                        f'{points.dtype if isinstance(points, Tensor) else type(points).__name__}')
    if points.dim() != 2 or points.shape[1] < 3:
        raise ValueError(f'{name}: points must have shape (N, >=3), got {tuple(points.shape)}')
    if len(points) == 0:
        raise BrokenSceneError(f'{name}: there are no points; check the file and the filters of the pipeline')
    bad = int((~torch.isfinite(points[:, :3])).any(dim=1).sum())
    if bad:
        raise BrokenSceneError(f'{name}: {bad} of {len(points)} points have non-finite coordinates; remove them from '
                               'the file or in the pipeline')
