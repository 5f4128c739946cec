"""Proposals that exist already: boxes from files, and the annotated boxes of a scene."""
import json
import logging
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from mmdet3d.registry import MODELS
from mmdet3d.structures import BaseInstance3DBoxes, DepthInstance3DBoxes, Det3DDataSample
from mmengine.logging import print_log
from mmengine.structures import InstanceData
from torch import Tensor, nn

from ...atomic_files import atomic_write
from ...datasets.unreadable import OnUnreadable, check_on_unreadable
from ...point_ops.coordinates import check_points, move_boxes, scene_offset
from .base import make_proposals, no_proposals

FILE_SUFFIXES = ('.json', '.npz')
BOX_ORIGINS = dict(gravity_center=(.5, .5, .5), bottom_center=(.5, .5, 0))


@MODELS.register_module()
class FileProposals(nn.Module):
    """Boxes from one file per scene, for example those of another project or boxes drawn by hand.

    The file of a scene is ``folder/SCENE.json`` or ``folder/SCENE.npz``, where SCENE is the stem of its point file. It
    holds ``boxes`` (K, 6) or (K, 7): x, y, z and the three sizes in meters, then the yaw in radians from +x towards +y
    if there are seven numbers, in the frame of the scene after ``GlobalAlignment``. The optional ``scores`` (K,) in
    [0, 1] are the objectness; it is 1 without them. JSON: ``{"boxes": [[...], ...], "scores": [...]}``. ``origin``,
    where the file has it, replaces the argument. :func:`write_boxes` writes such files, for example from the option
    ``save_proposals`` of a detector.

    Args:
        folder: Directory of the files.
        origin: Meaning of x, y, z: 'gravity_center' (as in ScanNet's annotations and the results of this project) or
            'bottom_center' (as in the tensors of mmdet3d).
        on_unreadable: 'error', or 'skip': a scene without a usable file gets no boxes, with a warning, and the reason
            as ``unreadable`` in the meta information of its data sample, by which ``ReportingTestLoop`` counts it.

    Raises:
        FileNotFoundError: The directory does not exist or holds no such file.
        ValueError: ``origin`` or ``on_unreadable`` has another value.
    """

    def __init__(self,
                 folder: str | Path,
                 origin: Literal['gravity_center', 'bottom_center'] = 'gravity_center',
                 on_unreadable: OnUnreadable = 'error') -> None:
        super().__init__()
        if origin not in BOX_ORIGINS:
            raise ValueError(f"origin must be 'gravity_center' or 'bottom_center', got {origin!r}")
        check_on_unreadable(on_unreadable)
        self.folder, self.origin, self.on_unreadable = Path(folder).expanduser(), origin, on_unreadable
        if not self.folder.is_dir() or not any(path.suffix in FILE_SUFFIXES for path in self.folder.iterdir()):
            raise FileNotFoundError(f'FileProposals: there is no folder {self.folder} with a .json or .npz file of '
                                    'boxes for each scene; set model.proposals.folder to the right one')

    def forward(self, points: Tensor, data_sample: Det3DDataSample | None = None) -> InstanceData:
        """Read the boxes of one scene.

        Args:
            points: Float (N, >=3); only the device is used.
            data_sample: Sample of the scene; its ``lidar_path`` names the scene.

        Returns:
            ``bboxes_3d`` (DepthInstance3DBoxes) and ``objectness`` (K,), descending; K may be 0.

        Raises:
            ValueError: The data sample does not name the scene; or the scene has no file, or one without usable boxes,
                and ``on_unreadable`` is 'error'. The message names the file.
        """
        check_points(points)
        name = getattr(data_sample, 'lidar_path', None)
        if not name:
            raise ValueError('FileProposals: the data sample has no lidar_path, which names the file of boxes; '
                             'the pipeline needs LoadPointsFromFile and Pack3DDetInputs')
        try:
            boxes, scores, origin = read_boxes(self._find_file(Path(name).stem))
        except ValueError as error:
            if self.on_unreadable == 'error':
                raise
            print_log(f'no boxes for {name}: {error}', 'current', logging.WARNING)
            data_sample.set_metainfo(dict(unreadable=str(error)))
            return no_proposals(points)
        boxes, scores = torch.from_numpy(boxes).to(points.device), torch.from_numpy(scores).to(points.device)
        order = scores.argsort(descending=True, stable=True)
        offset = scene_offset(points)
        boxes[:, :3] -= offset
        boxes = DepthInstance3DBoxes(boxes[order], box_dim=boxes.shape[1], with_yaw=boxes.shape[1] == 7,
                                     origin=BOX_ORIGINS[origin or self.origin])
        return make_proposals(move_boxes(boxes, offset), scores[order])

    def _find_file(self, scene: str) -> Path:
        for suffix in FILE_SUFFIXES:
            path = self.folder / f'{scene}{suffix}'
            if path.is_file():
                return path
        raise ValueError(f'there is no {self.folder / scene}.json or .npz with the boxes of the scene')


def read_boxes(path: Path) -> tuple[np.ndarray, np.ndarray, str | None]:
    """Read a file of boxes in the format of :class:`FileProposals`.

    Returns:
        Boxes float64 (K, 6) or (K, 7), scores float32 (K,), and the origin of the boxes, if the file has it.

    Raises:
        ValueError: The file is unreadable or its boxes or scores are invalid; the message says what is wrong.
    """
    try:
        if path.suffix == '.json':
            contents = json.loads(path.read_text())
        else:
            with np.load(path, allow_pickle=False) as archive:
                contents = {key: archive[key] for key in archive.files}
        boxes = np.array(contents['boxes'], dtype=np.float64)
        origin = str(contents['origin']) if 'origin' in contents else None
        scores = contents.get('scores')
        scores = np.ones(len(boxes), np.float32) if scores is None else np.array(scores, dtype=np.float32)
    except KeyError as error:
        raise ValueError(f'{path} has no {error}, only {", ".join(contents) or "nothing"}') from error
    except Exception as error:  # a truncated zip, array or JSON raises many types of exceptions
        raise ValueError(f'{path} cannot be read as boxes: {error}') from error
    if origin not in (None, *BOX_ORIGINS):
        raise ValueError(f"{path}: origin must be one of {', '.join(BOX_ORIGINS)}, got {origin!r}")
    if boxes.size == 0:
        return np.zeros((0, 7)), np.zeros(0, np.float32), origin
    if boxes.ndim != 2 or boxes.shape[1] not in (6, 7) or scores.shape != boxes.shape[:1]:
        raise ValueError(f'{path}: boxes must have shape (K, 6) or (K, 7) and scores (K,), '
                         f'got {boxes.shape} and {scores.shape}')
    if not np.isfinite(boxes).all() or not np.isfinite(scores).all() or (boxes[:, 3:6] < 0).any():
        raise ValueError(f'{path} has values that are not finite or boxes of negative size')
    if (scores < 0).any() or (scores > 1).any():
        raise ValueError(f'{path}: scores must lie in [0, 1], got {scores.min():g} to {scores.max():g}')
    return boxes, scores, origin


def write_boxes(path: str | Path, proposals: InstanceData) -> None:
    """Write the boxes of one scene, from which :class:`FileProposals` reads the same numbers.

    Args:
        path: The .npz file.
        proposals: ``bboxes_3d`` and ``objectness`` in [0, 1].
    """
    boxes = proposals.bboxes_3d
    columns = 7 if boxes.with_yaw else 6
    with atomic_write(path) as unfinished:
        np.savez(unfinished, boxes=boxes.tensor[:, :columns].detach().cpu().double().numpy(),
                 scores=proposals.objectness.detach().cpu().float().numpy(), origin=np.array('bottom_center'))


@MODELS.register_module()
class GroundTruthProposals(nn.Module):
    """Annotated boxes of a scene with objectness 1, which give the upper bound of detection with a classifier.

    Their classes are not used. In test mode mmdet3d's datasets put annotations into ``eval_ann_info``
    (``load_eval_anns=True``, the default), in training pipelines into ``gt_instances_3d``; the former comes first.
    """

    def forward(self, points: Tensor, data_sample: Det3DDataSample | None = None) -> InstanceData:
        """Return the annotated boxes of one scene.

        Args:
            points: Float (N, >=3); only the device is used.
            data_sample: Sample of the scene, with annotations.

        Returns:
            ``bboxes_3d`` and ``objectness`` (K,), all 1, on the device of ``points``.

        Raises:
            ValueError: The sample has no annotations.
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
