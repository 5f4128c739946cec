"""Transforms of whole scenes: the check of their points, and the crop of a random cuboid."""
import numpy as np
from mmcv.transforms import BaseTransform
from mmdet3d.registry import TRANSFORMS

from ...point_ops.coordinates import check_points


@TRANSFORMS.register_module()
class CheckScenePoints(BaseTransform):
    """Transform that checks that a scene has points, finite and resolved by float32.

    The dataset's ``on_unreadable`` decides what happens with a scene that fails.

    Required keys:
        points: mmdet3d's points.
        lidar_path: Path of the file, for the message.

    Raises:
        ValueError: There are no points, some are not finite, or they are too far away, see :func:`check_points`; the
            message names the scene.
    """

    def transform(self, results: dict) -> dict:
        """Return the scene as it is."""
        check_points(results['points'].coord, str(results.get('lidar_path', 'scene')))
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}()'


@TRANSFORMS.register_module()
class RandomCuboid(BaseTransform):
    """Transform that crops a scene to a random cuboid (DepthContrast; 3DETR, section 4).

    The points in the cuboid remain, and the boxes whose centers are within the bounds of these points. The center of
    the cuboid is a random point, each side a random share of that of the scene. If no try leaves enough points, and at
    least one box of a scene with boxes, the scene stays as it is.

    Required keys, all replaced:
        points: mmdet3d's points.
        gt_bboxes_3d, gt_labels_3d: Annotated boxes and their labels.

    Args:
        min_points: Smallest number of points that may remain.
        min_crop, max_crop: Range of the shares, in (0, 1].
        min_aspect: Smallest ratio of two shares next to each other in size, for at least one such pair.
        num_tries: Number of cuboids that are tried.

    Raises:
        ValueError: ``min_crop`` is not in (0, ``max_crop``].
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
