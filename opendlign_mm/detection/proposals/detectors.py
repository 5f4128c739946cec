"""Class-agnostic boxes from a trained detector: 3DETR, or any indoor detector of mmdet3d."""
from pathlib import Path

import numpy as np
import torch
from mmdet3d.registry import MODELS, TRANSFORMS
from mmdet3d.structures import Box3DMode, Det3DDataSample, get_box_type
from mmengine.dataset import Compose, pseudo_collate
from mmengine.structures import InstanceData
from torch import Tensor

from ...box_ops.nms import nms_3d
from ...point_ops.coordinates import check_points, move_boxes, scene_offset, to_local
from ..mmcv_on_cpu import run_point_ops_on_cpu
from ..three_detr import ThreeDETR
from ..three_detr.selection import BoxSelection
from .base import FrozenDetector, check_colors, make_proposals

# Steps of a test pipeline that the given points have been through already, or that need files.
SKIPPED_STEPS = ('LoadAnnotations3D', 'GlobalAlignment')


@MODELS.register_module()
class ThreeDETRProposals(FrozenDetector):
    """Boxes of a trained :class:`ThreeDETR`, whose classes are used for its own NMS only.

    Args:
        config: Config of the ``ThreeDETR``, see :class:`FrozenDetector`.
        checkpoint: Weights of the detector, trained here or converted with ``tools/convert_checkpoint.py``.
        num_points: Largest number of points; larger scenes are sampled at random with ``seed``. 3DETR is trained and
            tested on 40,000 points. None keeps all points.
        selection: Changes to the arguments of the detector's :class:`BoxSelection`.
        seed: Seed of the sampling; the same scene always gives the same boxes.
        cfg_options: Changes to the config, see :class:`FrozenDetector`.

    Raises:
        ValueError: The config is not that of a ``ThreeDETR``, or ``num_points`` is below 1.
    """

    def __init__(self,
                 config: str | Path | dict,
                 checkpoint: str | Path | None = None,
                 num_points: int | None = 40000,
                 selection: dict | None = None,
                 seed: int = 0,
                 cfg_options: dict | None = None) -> None:
        super().__init__(config, checkpoint, cfg_options)
        if not isinstance(self.detector, ThreeDETR):
            raise ValueError(f'ThreeDETRProposals needs the config of a ThreeDETR, got {type(self.detector).__name__}; '
                             'use DetectorProposals for other detectors')
        if num_points is not None and num_points < 1:
            raise ValueError(f'num_points must be None or >= 1, got {num_points}')
        if selection:
            self.detector.selection = BoxSelection(**dict(self.cfg.model.get('selection') or {}, **selection))
        self.num_points, self.seed = num_points, seed

    @torch.no_grad()
    def forward(self, points: Tensor, data_sample: Det3DDataSample | None = None) -> InstanceData:
        """Propose boxes for one scene.

        Args:
            points: Float (N, >=3): x, y, z in meters, z up; further columns are not used.
            data_sample: Not used.

        Returns:
            ``bboxes_3d`` (DepthInstance3DBoxes, rotated if the detector has more than one angle bin) and
            ``objectness`` (K,) in [0, 1], descending, on the device of ``points``.
        """
        check_points(points)
        points = points[:, :3]
        if self.num_points is not None and len(points) > self.num_points:
            generator = torch.Generator().manual_seed(self.seed)
            points = points[torch.randperm(len(points), generator=generator)[:self.num_points].to(points.device)]
        proposals, = self.detector.propose([points])
        return make_proposals(proposals.bboxes_3d, proposals.objectness)


@MODELS.register_module()
class DetectorProposals(FrozenDetector):
    """Boxes of a trained detector of mmdet3d (VoteNet, GroupFree3D, H3DNet, FCAF3D, ...), whose classes are not used.

    The points go through the test pipeline of the detector's own config after its loading step: selection of columns,
    height above the floor, sampling, colors. Where boxes of several classes overlap, the best one remains.

    Args:
        config: Config of the detector with its ``test_dataloader``, see :class:`FrozenDetector`.
        checkpoint: Weights of the detector.
        score_threshold: Score above which boxes are kept.
        nms_threshold: 3D IoU above which the box of the lower score is dropped, regardless of class.
        max_proposals: Largest number of boxes per scene.
        seed: Seed of the pipeline's sampling; the same scene always gives the same boxes.
        cfg_options: Changes to the config, see :class:`FrozenDetector`.

    Raises:
        ValueError: The config has no test pipeline that begins with loading points, its boxes are not those of indoor
            scenes (``box_type_3d='Depth'``), or ``max_proposals`` is below 1.
    """

    def __init__(self,
                 config: str | Path | dict,
                 checkpoint: str | Path | None = None,
                 score_threshold: float = 0.,
                 nms_threshold: float = 0.5,
                 max_proposals: int = 256,
                 seed: int = 0,
                 cfg_options: dict | None = None) -> None:
        run_point_ops_on_cpu()
        super().__init__(config, checkpoint, cfg_options)
        if max_proposals < 1:
            raise ValueError(f'max_proposals must be >= 1, got {max_proposals}')
        self.score_threshold, self.nms_threshold = score_threshold, nms_threshold
        self.max_proposals, self.seed = max_proposals, seed
        dataset = (self.cfg.get('test_dataloader') or {}).get('dataset') or {}
        self.box_type_3d, self.box_mode_3d = get_box_type(dataset.get('box_type_3d', 'Depth'))
        if self.box_mode_3d != Box3DMode.DEPTH:
            raise ValueError("DetectorProposals: only detectors of indoor scenes (box_type_3d='Depth') propose boxes, "
                             f"got box_type_3d={dataset.get('box_type_3d')!r}")
        steps = [dict(step) for step in dataset.get('pipeline', ()) if step['type'] not in SKIPPED_STEPS]
        if not steps or steps[0]['type'] != 'LoadPointsFromFile':
            raise ValueError("DetectorProposals: the detector's config needs a test_dataloader.dataset.pipeline that "
                             'begins with LoadPointsFromFile')
        columns = steps[0]['use_dim']
        self.columns = list(range(columns)) if isinstance(columns, int) else list(columns)
        steps[0]['type'] = 'LoadPointsFromDict'
        self.pipeline = Compose([TRANSFORMS.build(step) for step in steps])

    @torch.no_grad()
    def forward(self, points: Tensor, data_sample: Det3DDataSample | None = None) -> InstanceData:
        """Propose boxes for one scene.

        Args:
            points: Float (N, >=3): x, y, z in meters, z up; a detector that uses colors needs r, g, b in [0, 255] or
                [0, 1] after them.
            data_sample: Not used.

        Returns:
            ``bboxes_3d`` and ``objectness`` (K,), the detector's score, descending, on the device of ``points``.

        Raises:
            ValueError: The points lack columns that the detector uses, or their colors are invalid.
        """
        check_points(points)
        if points.shape[1] <= max(self.columns):
            raise ValueError(f'the detector uses {max(self.columns) + 1} columns of the points, which have '
                             f'{points.shape[1]}: load them with use_dim=[0, 1, 2, 3, 4, 5]')
        offset = scene_offset(points)
        local = to_local(points.detach(), offset)
        if max(self.columns) >= 5:
            colors = local[:, 3:6]
            check_colors(colors)
            if colors.max() <= 1:
                local = torch.cat([local[:, :3], colors * 255, local[:, 6:]], dim=1)
        batch = self.detector.data_preprocessor(pseudo_collate([self._prepare(local)]))
        batch['inputs']['points'] = [scene.to(points.device) for scene in batch['inputs']['points']]
        found = self.detector.predict(batch['inputs'], batch['data_samples'])[0].pred_instances_3d
        found = found[found.scores_3d > self.score_threshold]
        kept = nms_3d(found.bboxes_3d, found.scores_3d, self.nms_threshold, max_num=self.max_proposals)
        boxes = move_boxes(found.bboxes_3d[kept].to(points.device), offset)
        return make_proposals(boxes, found.scores_3d[kept].to(points.device))

    def _prepare(self, points: Tensor) -> dict:
        """Run the detector's test pipeline on one scene without changing NumPy's global random state."""
        results = dict(
            points=points.float().cpu().numpy()[:, self.columns], box_type_3d=self.box_type_3d,
            box_mode_3d=self.box_mode_3d, timestamp=1, axis_align_matrix=np.eye(4))
        state = np.random.get_state()
        np.random.seed(self.seed)
        try:
            return self.pipeline(results)
        finally:
            np.random.set_state(state)
