"""The boxes of a scene that are classified: the best of a source, and crops of the points in them."""
from collections.abc import Sequence
from pathlib import Path

import torch
from mmdet3d.structures import BaseInstance3DBoxes, Det3DDataSample
from mmengine.structures import InstanceData
from torch import Tensor

from ..box_ops.points_in_boxes import box_tensor, crop_points
from .proposals.given_boxes import write_boxes


class ProposalSelection:
    """Choice of the best boxes of a scene; before it, all boxes may be written to a file.

    Args:
        objectness_threshold: Objectness below which boxes are dropped.
        max_proposals: Largest number of boxes per scene, the best by objectness. None keeps all.
        folder: Folder of the files, one for each scene, in the format of ``FileProposals``. None writes nothing.

    Raises:
        ValueError: ``max_proposals`` is below 1.
    """

    def __init__(self, objectness_threshold: float = 0., max_proposals: int | None = None,
                 folder: str | Path | None = None) -> None:
        if max_proposals is not None and max_proposals < 1:
            raise ValueError(f'max_proposals must be None or >= 1, got {max_proposals}')
        self.objectness_threshold, self.max_proposals = objectness_threshold, max_proposals
        self.folder = None if folder is None else Path(folder).expanduser()

    def write(self, proposals: InstanceData, data_sample: Det3DDataSample | None) -> None:
        """Write all boxes of one scene to its file, if there is a folder.

        Args:
            proposals: ``bboxes_3d`` and ``objectness``, in the frame of the scene.
            data_sample: Sample of the scene; its ``lidar_path`` names the file.

        Raises:
            ValueError: Boxes are to be written, but the data sample does not name the scene.
        """
        if self.folder is None:
            return
        name = getattr(data_sample, 'lidar_path', None)
        if not name:
            raise ValueError('save_proposals: the data sample has no lidar_path, which names the file of boxes; run '
                             'tools/test.py on a dataset, whose pipeline has LoadPointsFromFile and Pack3DDetInputs')
        write_boxes(self.folder / f'{Path(name).stem}.npz', proposals)

    def __call__(self, proposals: InstanceData) -> InstanceData:
        """Return the best boxes of one scene, by descending objectness.

        Args:
            proposals: ``bboxes_3d`` and ``objectness``. mmdet3d's boxes are float32 after a choice of them: far from
                the origin, pass them relative to the scene.
        """
        order = proposals.objectness.argsort(descending=True, stable=True)
        order = order[proposals.objectness[order] >= self.objectness_threshold]
        return proposals[order[:self.max_proposals]]


class BoxCrops:
    """Crops of the points in boxes, in the frames of the boxes.

    Args:
        box_margin: Distance in meters by which boxes are extended on each side.
        min_points: Smallest number of points of a box at the first scale; other boxes are dropped.
        crop_scales: Factors of the sizes of a box, before the margin is added; 1 is the box itself and 1.2 shows a
            tenth of context on each side. A box has a crop at each scale. A smaller crop with fewer than ``min_points``
            points is replaced by that of the first scale.

    Raises:
        ValueError: An argument is out of range; the message names it.
    """

    def __init__(self, box_margin: float = 0., min_points: int = 5, crop_scales: Sequence[float] = (1., )) -> None:
        if min_points < 1:
            raise ValueError(f'min_points must be >= 1, got {min_points}')
        if box_margin < 0:
            raise ValueError(f'box_margin must be >= 0, got {box_margin}')
        if isinstance(crop_scales, (int, float)) or not len(crop_scales) or min(crop_scales) <= 0:
            raise ValueError(f'crop_scales must be a list of at least one factor > 0, got {crop_scales}')
        self.box_margin, self.min_points = box_margin, min_points
        self.crop_scales = tuple(float(scale) for scale in crop_scales)

    def __call__(self, points: Tensor, proposals: InstanceData) -> tuple[InstanceData, list[list[Tensor]]]:
        """Drop the proposals with too few points and crop the points of the others.

        Args:
            points: Float (N, >=3), x, y, z first, in meters, z up; further columns are kept.
            proposals: ``bboxes_3d`` and ``objectness`` of K boxes.

        Returns:
            Proposals of K' <= K boxes, and for each scale K' tensors (N_i, >=3) of points in the frames of their boxes.
        """
        first = crop_points(points, self._scaled(proposals.bboxes_3d, self.crop_scales[0]), self.box_margin)
        enough = [len(crop) >= self.min_points for crop in first]
        proposals = proposals[torch.tensor(enough, dtype=torch.bool, device=points.device)]
        first = [crop for crop, has_enough in zip(first, enough, strict=True) if has_enough]
        others = []
        for scale in self.crop_scales[1:]:
            crops = crop_points(points, self._scaled(proposals.bboxes_3d, scale), self.box_margin)
            others.append([crop if len(crop) >= self.min_points else instead
                           for crop, instead in zip(crops, first, strict=True)])
        return proposals, [first, *others]

    @staticmethod
    def _scaled(boxes: BaseInstance3DBoxes, scale: float) -> BaseInstance3DBoxes | Tensor:
        """Return boxes, or their tensor (K, 7) with the bottom as origin, scaled about their centers."""
        if scale == 1:
            return boxes
        tensor = box_tensor(boxes).clone()
        tensor[:, 2] -= tensor[:, 5] * (scale - 1) / 2
        tensor[:, 3:6] *= scale
        return tensor
