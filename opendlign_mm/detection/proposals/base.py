"""What every proposal source gives, and the checks they share."""
from mmdet3d.structures import BaseInstance3DBoxes, DepthInstance3DBoxes
from mmengine.structures import InstanceData
from torch import Tensor


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
