"""Boxes that the data workers of a test propose, while the detector is at work on the scenes before."""
import torch
from mmcv.transforms import BaseTransform
from mmdet3d.registry import MODELS, TRANSFORMS
from mmdet3d.structures import Det3DDataSample
from mmengine.structures import InstanceData
from torch import Tensor, nn

from ...point_ops.coordinates import check_points, localize_boxes, move_boxes, scene_offset
from .base import make_proposals

FIELD = 'boxes_of_pipeline'


@TRANSFORMS.register_module()
class ProposeBoxes(BaseTransform):
    """Transform that proposes the boxes of a packed scene, which :class:`PipelineProposals` gives to the detector.

    It goes after ``Pack3DDetInputs``. So ``ClusterProposals``, which compute on the CPU, take the time of data workers
    (``test_dataloader.num_workers``) and leave a GPU to the classification. The boxes are those that the source gives
    within the detector.

    Required keys:
        inputs: dict with ``points`` float (N, >=3).
        data_samples: ``Det3DDataSample``, to which the boxes are added.

    Args:
        proposals: Config of a source of proposals, such as ``dict(type='ClusterProposals')``.

    Raises:
        TypeError: ``proposals`` is not a config.
        ValueError: The scene is not packed yet, its points are unusable, or the source is ``PipelineProposals``.
    """

    def __init__(self, proposals: dict) -> None:
        if not isinstance(proposals, dict) or 'type' not in proposals:
            raise TypeError(f"ProposeBoxes: proposals must be a config such as dict(type='ClusterProposals'), got "
                            f'{proposals!r}')
        if proposals['type'] in ('PipelineProposals', PipelineProposals):
            raise ValueError('ProposeBoxes needs a source of its own, such as ClusterProposals: PipelineProposals are '
                             'the boxes that it proposes')
        self.proposals = MODELS.build(proposals).eval()

    @torch.no_grad()
    def transform(self, results: dict) -> dict:
        """Add the boxes to the data sample."""
        points = results.get('inputs', {}).get('points')
        if points is None or 'data_samples' not in results:
            raise ValueError('ProposeBoxes goes after Pack3DDetInputs, which packs the points; the pipeline has '
                             f'{", ".join(sorted(results)) or "nothing"} here')
        check_points(points, str(getattr(results['data_samples'], 'lidar_path', 'scene')))
        found = self.proposals(points, results['data_samples'])
        # Boxes on their way through batches and devices become float32, which is exact near the scene only.
        local = make_proposals(localize_boxes(found.bboxes_3d, scene_offset(points)), found.objectness)
        results['data_samples'].set_field(local, FIELD, dtype=InstanceData)
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}(proposals={type(self.proposals).__name__})'


@MODELS.register_module()
class PipelineProposals(nn.Module):
    """Boxes that :class:`ProposeBoxes` proposed in the pipeline of the dataset."""

    def forward(self, points: Tensor, data_sample: Det3DDataSample | None = None) -> InstanceData:
        """Return the boxes of one scene.

        Args:
            points: Float (N, >=3), those that the pipeline packed.
            data_sample: Sample of the scene.

        Returns:
            ``bboxes_3d`` and ``objectness`` (K,) of the source, on the device of ``points``.

        Raises:
            ValueError: The pipeline proposed none.
        """
        check_points(points)
        found = getattr(data_sample, FIELD, None)
        if found is None:
            raise ValueError('PipelineProposals: the pipeline proposed no boxes for this scene; put '
                             "dict(type='ProposeBoxes', proposals=dict(type='ClusterProposals')) after Pack3DDetInputs")
        boxes = found.bboxes_3d.to(points.device)
        return make_proposals(move_boxes(boxes, scene_offset(points)), found.objectness.to(points.device))
