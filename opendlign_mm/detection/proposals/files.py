"""Boxes from files, one file per scene: what another project has detected, or boxes drawn by hand."""
import json
from pathlib import Path

import numpy as np
import torch
from mmdet3d.registry import MODELS
from mmdet3d.structures import DepthInstance3DBoxes, Det3DDataSample
from mmengine.structures import InstanceData
from torch import Tensor, nn

from ...point_ops.checks import BrokenSceneError, check_points
from .base import make_proposals

ENDINGS = ('.json', '.npz')


@MODELS.register_module()
class FileProposals(nn.Module):
    """Boxes from ``folder/SCENE.json`` or ``folder/SCENE.npz``, where SCENE is the stem of the file of points.

    A file has ``boxes`` (K, 6) or (K, 7): x, y, z, the three sizes in meters and, where there are seven numbers, the
    yaw in radians from +x towards +y; in the frame that the scene has after ``GlobalAlignment``. ``scores`` (K,) in
    [0, 1] are the objectness, 1 where they are absent. JSON: ``{"boxes": [[...], ...], "scores": [...]}``.

    Args:
        folder (str | Path): directory of the files.
        origin (str): what x, y, z are: 'gravity_center' (as in ScanNet's annotations and this project's own results)
            or 'bottom_center' (as in mmdet3d's tensors).

    Raises:
        FileNotFoundError: there is no such directory, or no such files in it.
    """

    def __init__(self, folder: str | Path, origin: str = 'gravity_center') -> None:
        super().__init__()
        if origin not in ('gravity_center', 'bottom_center'):
            raise ValueError(f"origin must be 'gravity_center' or 'bottom_center', got {origin!r}")
        self.folder, self.origin = Path(folder).expanduser(), origin
        if not self.folder.is_dir() or not any(path.suffix in ENDINGS for path in self.folder.iterdir()):
            raise FileNotFoundError(f'FileProposals: there is no folder {self.folder} with a .json or .npz file of '
                                    'boxes for each scene; set model.proposals.folder to where they are')

    def forward(self, points: Tensor, data_sample: Det3DDataSample | None = None) -> InstanceData:
        """Read the boxes of one scene.

        Args:
            points (Tensor): float (N, >=3); only its device is used.
            data_sample (Det3DDataSample): its ``lidar_path`` names the scene.

        Returns:
            InstanceData: ``bboxes_3d`` (DepthInstance3DBoxes) and ``objectness`` (K,), descending; K may be 0.

        Raises:
            BrokenSceneError: no file for the scene, or one that holds no usable boxes; the message names it.
        """
        check_points(points)
        name = getattr(data_sample, 'lidar_path', None)
        if not name:
            raise BrokenSceneError('FileProposals: the data sample has no lidar_path to find the file of boxes by; the '
                                   'pipeline needs LoadPointsFromFile and Pack3DDetInputs')
        boxes, scores = read_boxes(self._path_of(Path(name).stem))
        boxes, scores = torch.from_numpy(boxes).to(points.device), torch.from_numpy(scores).to(points.device)
        order = scores.argsort(descending=True, stable=True)
        with_yaw = boxes.shape[1] == 7
        boxes = DepthInstance3DBoxes(
            boxes[order], box_dim=boxes.shape[1], with_yaw=with_yaw,
            origin=(.5, .5, .5) if self.origin == 'gravity_center' else (.5, .5, 0))
        return make_proposals(boxes, scores[order])

    def _path_of(self, scene: str) -> Path:
        for ending in ENDINGS:
            path = self.folder / f'{scene}{ending}'
            if path.is_file():
                return path
        raise BrokenSceneError(f'there is no {self.folder / scene}.json or .npz with the boxes of the scene')


def read_boxes(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Boxes float32 (K, 6) or (K, 7) and scores float32 (K,) of a file; see :class:`FileProposals`.

    Raises:
        BrokenSceneError: the file cannot be read, or its boxes are none; the message says what is wrong.
    """
    try:
        if path.suffix == '.json':
            contents = json.loads(path.read_text())
        else:
            with np.load(path, allow_pickle=False) as archive:
                contents = {key: archive[key] for key in archive.files}
        boxes = np.array(contents['boxes'], dtype=np.float32)
        scores = contents.get('scores')
        scores = np.ones(len(boxes), np.float32) if scores is None else np.array(scores, dtype=np.float32)
    except KeyError as error:
        raise BrokenSceneError(f'{path} has no {error}, only {", ".join(contents) or "nothing"}') from error
    except Exception as error:  # a zip, an array or a JSON that is cut off fails in many ways
        raise BrokenSceneError(f'{path} cannot be read as boxes: {error}') from error
    if boxes.size == 0:
        return np.zeros((0, 7), np.float32), np.zeros(0, np.float32)
    if boxes.ndim != 2 or boxes.shape[1] not in (6, 7) or scores.shape != boxes.shape[:1]:
        raise BrokenSceneError(f'{path}: boxes must have shape (K, 6) or (K, 7) and scores (K,), '
                               f'got {boxes.shape} and {scores.shape}')
    if not np.isfinite(boxes).all() or not np.isfinite(scores).all() or (boxes[:, 3:6] < 0).any():
        raise BrokenSceneError(f'{path} has boxes that are not finite or of negative size')
    if (scores < 0).any() or (scores > 1).any():
        raise BrokenSceneError(f'{path}: scores must lie in [0, 1], got {scores.min():g} to {scores.max():g}')
    return boxes, scores
