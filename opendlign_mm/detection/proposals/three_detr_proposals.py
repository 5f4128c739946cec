"""3DETR's boxes as proposals, as in OpenDlign's detection experiments (section 4.4)."""
from pathlib import Path
from typing import Optional, Union

import torch
from mmdet3d.registry import MODELS
from mmdet3d.structures import Det3DDataSample
from mmengine.structures import InstanceData
from torch import Tensor

from ..three_detr import ThreeDETR
from ..three_detr.selection import BoxSelection
from .base import check_points, make_proposals
from .frozen_detector import FrozenDetector


@MODELS.register_module()
class ThreeDETRProposals(FrozenDetector):
    """Boxes of a trained :class:`ThreeDETR`; its classes are not used but in its own suppression of duplicates.

    Args:
        config (str | Path | dict): config of the ``ThreeDETR``, see :class:`FrozenDetector`.
        checkpoint (str | Path, optional): its weights, trained here or converted with ``tools/convert_checkpoint.py``.
        num_points (int, optional): larger scenes are thinned to so many points, at random with ``seed``: 3DETR is
            trained and tested on 40,000. None: all points.
        selection (dict, optional): changes to the arguments of the detector's :class:`BoxSelection`.
        seed (int): the same scene always gives the same boxes.
        cfg_options (dict, optional): see :class:`FrozenDetector`.
    """

    def __init__(self,
                 config: Union[str, Path, dict],
                 checkpoint: Union[None, str, Path] = None,
                 num_points: Optional[int] = 40000,
                 selection: Optional[dict] = None,
                 seed: int = 0,
                 cfg_options: Optional[dict] = None) -> None:
        super().__init__(config, checkpoint, cfg_options)
        if not isinstance(self.detector, ThreeDETR):
            raise ValueError(f'ThreeDETRProposals needs the config of a ThreeDETR, got {type(self.detector).__name__}; '
                             'DetectorProposals takes other detectors')
        if num_points is not None and num_points < 1:
            raise ValueError(f'num_points must be None or >= 1, got {num_points}')
        if selection:
            self.detector.selection = BoxSelection(**dict(self.cfg.model.get('selection') or {}, **selection))
        self.num_points, self.seed = num_points, seed

    @torch.no_grad()
    def forward(self, points: Tensor, data_sample: Optional[Det3DDataSample] = None) -> InstanceData:
        """Propose boxes for one scene.

        Args:
            points (Tensor): float (N, >=3): x y z in metres, z up; only these are used.
            data_sample (Det3DDataSample, optional): not used.

        Returns:
            InstanceData: ``bboxes_3d`` (DepthInstance3DBoxes, turned where the detector has angles) and ``objectness``
            (K,) in [0, 1], descending, on the device of ``points``.
        """
        check_points(points)
        points = points[:, :3]
        if self.num_points is not None and len(points) > self.num_points:
            generator = torch.Generator().manual_seed(self.seed)
            points = points[torch.randperm(len(points), generator=generator)[:self.num_points].to(points.device)]
        proposals, = self.detector.propose([points])
        return make_proposals(proposals.bboxes_3d, proposals.objectness)
