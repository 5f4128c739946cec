"""Class-agnostic boxes from a trained detector: any of mmdet3d, or 3DETR."""
from pathlib import Path

import numpy as np
import torch
from mmdet3d.registry import MODELS, TRANSFORMS
from mmdet3d.structures import Box3DMode, Det3DDataSample, get_box_type
from mmengine.dataset import Compose, pseudo_collate
from mmengine.structures import InstanceData
from torch import Tensor

from ...box_ops.nms import nms_3d
from ...point_ops.checks import check_points
from ..mmcv_on_cpu import run_point_ops_on_cpu
from ..three_detr import ThreeDETR
from ..three_detr.selection import BoxSelection
from .base import make_proposals
from .frozen_detector import FrozenDetector

# Steps of a test pipeline that the scene has already been through, or that need files.
DONE_BEFORE = ('LoadAnnotations3D', 'GlobalAlignment')


@MODELS.register_module()
class DetectorProposals(FrozenDetector):
    """Boxes of a trained detector (VoteNet, GroupFree3D, H3DNet, FCAF3D, ...); its classes are not used.

    The scene goes through the test pipeline of the detector's own config, from the points on: the columns that its
    ``LoadPointsFromFile`` keeps, height above the floor, sampling, color. Of boxes of several classes in one place the
    best one remains.

    Args:
        config (str | Path | dict): config of the detector with its ``test_dataloader``, see :class:`FrozenDetector`.
        checkpoint (str | Path, optional): its weights.
        score_threshold (float): boxes with no higher score are dropped.
        nms_threshold (float): 3D IoU above which the lower scored of two boxes is dropped, whatever their classes.
        max_proposals (int): most boxes per scene.
        seed (int): of the pipeline's random choices (sampling); the same scene always gives the same boxes.
        cfg_options (dict, optional): see :class:`FrozenDetector`.

    Raises:
        ValueError: the config has no test pipeline that loads points.
    """

    def __init__(self,
                 config: str | Path | dict,
                 checkpoint: None | str | Path = None,
                 score_threshold: float = 0.,
                 nms_threshold: float = 0.5,
                 max_proposals: int = 256,
                 seed: int = 0,
                 cfg_options: dict | None = None) -> None:
        run_point_ops_on_cpu()
        super().__init__(config, checkpoint, cfg_options)
        self.score_threshold, self.nms_threshold = score_threshold, nms_threshold
        self.max_proposals, self.seed = max_proposals, seed
        dataset = (self.cfg.get('test_dataloader') or {}).get('dataset') or {}
        steps = [dict(step) for step in dataset.get('pipeline', ()) if step['type'] not in DONE_BEFORE]
        if not steps or steps[0]['type'] != 'LoadPointsFromFile':
            raise ValueError("DetectorProposals: the detector's config needs a test_dataloader.dataset.pipeline that "
                             'begins with LoadPointsFromFile')
        self.used_columns = max(steps[0]['use_dim']) + 1 if not isinstance(
            steps[0]['use_dim'], int) else steps[0]['use_dim']
        steps[0]['type'] = 'LoadPointsFromDict'
        self.kept_columns = steps[0]['use_dim']
        self.box_type_3d, self.box_mode_3d = get_box_type(dataset.get('box_type_3d', 'Depth'))
        if self.box_mode_3d != Box3DMode.DEPTH:
            raise ValueError("DetectorProposals: only detectors of indoor scenes (box_type_3d='Depth') propose boxes, "
                             f"got box_type_3d={dataset.get('box_type_3d')!r}")
        self.pipeline = Compose([TRANSFORMS.build(step) for step in steps])

    @torch.no_grad()
    def forward(self, points: Tensor, data_sample: Det3DDataSample | None = None) -> InstanceData:
        """Propose boxes for one scene.

        Args:
            points (Tensor): float (N, >=3): x y z in meters, z up; a detector that uses color needs r g b after them,
                in [0, 255].
            data_sample (Det3DDataSample, optional): not used.

        Returns:
            InstanceData: ``bboxes_3d`` and ``objectness`` (K,), the detector's score, descending, on the device of
            ``points``.

        Raises:
            ValueError: points lack columns that the detector uses.
        """
        check_points(points)
        if points.shape[1] < self.used_columns:
            raise ValueError(f'the detector uses {self.used_columns} columns of the points, which have '
                             f'{points.shape[1]}: load them with use_dim=[0, 1, 2, 3, 4, 5]')
        batch = self.detector.data_preprocessor(pseudo_collate([self._prepared(points)]))
        batch['inputs']['points'] = [scene.to(points.device) for scene in batch['inputs']['points']]
        found = self.detector.predict(batch['inputs'], batch['data_samples'])[0].pred_instances_3d
        found = found[found.scores_3d > self.score_threshold]
        kept = nms_3d(found.bboxes_3d, found.scores_3d, self.nms_threshold, max_num=self.max_proposals)
        return make_proposals(found.bboxes_3d[kept].to(points.device), found.scores_3d[kept].to(points.device))

    def _prepared(self, points: Tensor) -> dict:
        """The detector's test pipeline on one scene, with random numbers of its own."""
        columns = self.kept_columns if not isinstance(self.kept_columns, int) else list(range(self.kept_columns))
        results = dict(
            points=points.detach().float().cpu().numpy()[:, columns], box_type_3d=self.box_type_3d,
            box_mode_3d=self.box_mode_3d, timestamp=1, axis_align_matrix=np.eye(4))
        state = np.random.get_state()
        np.random.seed(self.seed)
        try:
            return self.pipeline(results)
        finally:
            np.random.set_state(state)


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
                 config: str | Path | dict,
                 checkpoint: None | str | Path = None,
                 num_points: int | None = 40000,
                 selection: dict | None = None,
                 seed: int = 0,
                 cfg_options: dict | None = None) -> None:
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
    def forward(self, points: Tensor, data_sample: Det3DDataSample | None = None) -> InstanceData:
        """Propose boxes for one scene.

        Args:
            points (Tensor): float (N, >=3): x y z in meters, z up; only these are used.
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
