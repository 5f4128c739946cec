"""Transforms of whole scenes: check their points, and crop a random cuboid."""
import logging

import numpy as np
import torch
from mmcv.transforms import BaseTransform
from mmdet3d.registry import TRANSFORMS
from mmengine.logging import print_log


@TRANSFORMS.register_module()
class CheckScenePoints(BaseTransform):
    """Stop scenes without points or with non-finite coordinates, which sampling and networks would choke on.

    Required keys: ``points`` (mmdet3d points); ``lidar_path`` names the scene.

    Args:
        broken (str): 'raise' an error, which ``SkipBrokenTestLoop`` and ``SkipBrokenValLoop`` turn into an entry of
            their list; or, for training, 'skip' the scene with a warning: mmengine's datasets then take another one at
            random.

    Raises:
        ValueError: such a scene, if ``broken`` is 'raise'; the message names it.
    """

    def __init__(self, broken: str = 'raise') -> None:
        if broken not in ('raise', 'skip'):
            raise ValueError(f"broken must be 'raise' or 'skip', got {broken!r}")
        self.broken = broken

    def transform(self, results: dict):
        """The scene as it is; None for a broken one that is to be skipped."""
        coordinates, name = results['points'].coord, results.get('lidar_path', 'scene')
        bad = int((~torch.isfinite(coordinates)).any(dim=1).sum())
        if len(coordinates) and not bad:
            return results
        problem = f'{bad} of {len(coordinates)} points have non-finite coordinates' if bad else 'there are no points'
        if self.broken == 'raise':
            raise ValueError(f'{name}: {problem}')
        print_log(f'left out of training: {name}: {problem}', 'current', logging.WARNING)
        return None

    def __repr__(self) -> str:
        return f'{type(self).__name__}(broken={self.broken!r})'


@TRANSFORMS.register_module()
class RandomCuboid(BaseTransform):
    """Keep the points in a random cuboid and the boxes whose centers are among them (DepthContrast; 3DETR, section 4).

    Required keys: ``points`` and ``gt_bboxes_3d``, ``gt_labels_3d``; all three are replaced. The cuboid's middle is a
    random point, each side a random share of the scene's. If no try leaves enough points and at least one box (of
    those that there are), the scene stays as it is.

    Args:
        min_points: Fewest points that may remain.
        min_crop, max_crop: Range of the shares, in (0, 1].
        min_aspect: For at least one pair of axes the smaller share is at least so much of the larger one.
        num_tries: How many cuboids are tried.
    """

    def __init__(self, min_points: int, min_crop: float = 0.5, max_crop: float = 1.0, min_aspect: float = 0.8,
                 num_tries: int = 100) -> None:
        if not 0 < min_crop <= max_crop:
            raise ValueError(f'min_crop and max_crop must satisfy 0 < min_crop <= max_crop, got {min_crop}, {max_crop}')
        self.min_points, self.min_crop, self.max_crop = min_points, min_crop, max_crop
        self.min_aspect, self.num_tries = min_aspect, num_tries

    def transform(self, results: dict) -> dict:
        """Crop one scene."""
        points, boxes = results['points'], results['gt_bboxes_3d']
        xyz, centers = points.coord.numpy(), boxes.gravity_center.numpy()
        for _ in range(self.num_tries):
            shares = np.random.uniform(self.min_crop, self.max_crop, 3)
            ordered = np.sort(shares)
            if (ordered[:-1] / ordered[1:]).max() < self.min_aspect:
                continue
            middle, half = xyz[np.random.randint(len(xyz))], np.ptp(xyz, axis=0) * shares / 2
            inside = (np.abs(xyz - middle) <= half).all(axis=1)
            if inside.sum() < self.min_points:
                continue
            low, high = xyz[inside].min(axis=0), xyz[inside].max(axis=0)
            kept = ((centers >= low) & (centers <= high)).all(axis=1)
            if len(boxes) and not kept.any():
                continue
            results.update(points=points[inside], gt_bboxes_3d=boxes[kept], gt_labels_3d=results['gt_labels_3d'][kept])
            break
        return results

    def __repr__(self) -> str:
        return (f'{type(self).__name__}(min_points={self.min_points}, min_crop={self.min_crop}, '
                f'max_crop={self.max_crop}, min_aspect={self.min_aspect})')
