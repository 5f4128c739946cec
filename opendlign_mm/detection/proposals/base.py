"""The common result of all proposal sources."""
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


def no_proposals(points: Tensor) -> InstanceData:
    """Return an empty result on the device of ``points``."""
    return make_proposals(DepthInstance3DBoxes(points.new_zeros(0, 7)), points.new_zeros(0))
