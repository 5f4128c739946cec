"""The true boxes as proposals: the upper bound of detection with a given classifier."""

import torch
from mmdet3d.registry import MODELS
from mmdet3d.structures import BaseInstance3DBoxes, Det3DDataSample
from mmengine.structures import InstanceData
from torch import Tensor, nn

from ...point_ops.checks import check_points
from .base import make_proposals


@MODELS.register_module()
class GroundTruthProposals(nn.Module):
    """Boxes from the annotations of a scene, each with objectness 1; their classes are not used.

    In test mode mmdet3d's datasets put annotations into ``eval_ann_info`` (``load_eval_anns=True``, the default), in
    training pipelines into ``gt_instances_3d``; both are read, the former first.
    """

    def forward(self, points: Tensor, data_sample: Det3DDataSample | None = None) -> InstanceData:
        """Give the true boxes of one scene.

        Args:
            points (Tensor): float (N, >=3); only its device is used.
            data_sample (Det3DDataSample): the scene's sample with annotations.

        Returns:
            InstanceData: ``bboxes_3d`` and ``objectness`` (K,), all 1, on the device of ``points``.

        Raises:
            ValueError: if there are no annotations.
        """
        check_points(points)
        boxes = self._annotated_boxes(data_sample)
        if boxes is None:
            raise ValueError('GroundTruthProposals needs annotations: the data sample has neither eval_ann_info nor '
                             'gt_instances_3d with boxes. Use a dataset with load_eval_anns=True, or ClusterProposals')
        return make_proposals(boxes.to(points.device), torch.ones(len(boxes), device=points.device))

    @staticmethod
    def _annotated_boxes(data_sample: Det3DDataSample | None) -> BaseInstance3DBoxes | None:
        annotations = getattr(data_sample, 'eval_ann_info', None)
        if annotations is not None:
            return annotations['gt_bboxes_3d']
        return getattr(getattr(data_sample, 'gt_instances_3d', None), 'bboxes_3d', None)
