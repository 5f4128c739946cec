"""Preparation of points in compared systems: PointCLIP, CLIP2Point."""
from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from mmcv.transforms import BaseTransform
from mmdet3d.registry import TRANSFORMS

from ...point_ops import furthest_point_sample
from ...projection import RenderedDepthProjection, build_projection
from .projecting import point_coordinates


@TRANSFORMS.register_module()
class SelectPoints(BaseTransform):
    """Transform that keeps some of the points of an object.

    Required keys:
        points: float tensor or array (N, >=3). If N is at most ``num_points``, all are kept.

    Args:
        num_points: Number of points to keep.
        order: ``'first'``: the first ones, as PointCLIP takes of ModelNet40; ``'furthest'``: by furthest point
            sampling, as CLIP2Point takes of ScanObjectNN.
    """

    def __init__(self, num_points: int = 1024, order: Literal['first', 'furthest'] = 'first') -> None:
        if num_points < 1:
            raise ValueError(f'num_points must be >= 1, got {num_points}')
        if order not in ('first', 'furthest'):
            raise ValueError(f"order must be 'first' or 'furthest', got {order!r}")
        self.num_points, self.order = num_points, order

    def transform(self, results: dict) -> dict:
        """Reduce ``points``."""
        points = point_coordinates(results)
        if len(points) > self.num_points and self.order == 'furthest':
            points = points[furthest_point_sample(points[None].float(), self.num_points)[0].long()]
        results['points'] = points[:self.num_points]
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}(num_points={self.num_points}, order={self.order!r})'


@TRANSFORMS.register_module()
class RandomAxisScaleShift(BaseTransform):
    """Transform that scales and shifts points along each axis and shuffles them, PointCLIP's augmentation.

    Required keys:
        points: float tensor or array (N, >=3).

    Args:
        scale: Range of the factor of each axis.
        shift: Largest shift along each axis, >= 0, in the unit of the points.
    """

    def __init__(self, scale: Sequence[float] = (2 / 3, 3 / 2), shift: float = .2) -> None:
        if len(scale) != 2 or not 0 < scale[0] <= scale[1] or shift < 0:
            raise ValueError(f'scale must be a range of positive factors and shift >= 0, got {scale} and {shift}')
        self.scale, self.shift = (float(scale[0]), float(scale[1])), float(shift)

    def transform(self, results: dict) -> dict:
        """Change ``points``."""
        points = point_coordinates(results)
        factors, shifts = np.random.uniform(*self.scale, 3), np.random.uniform(-self.shift, self.shift, 3)
        order = torch.from_numpy(np.random.permutation(len(points)))
        results['points'] = points[order] * points.new_tensor(factors) + points.new_tensor(shifts)
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}(scale={self.scale}, shift={self.shift})'


@TRANSFORMS.register_module()
class RenderDepthPair(BaseTransform):
    """Transform that renders one random side of an object at two random distances: CLIP2Point's pre-training.

    Required keys:
        points: float tensor or array (N, >=3), z up.
    Optional keys:
        images: uint8 array (V, H, W, 3), images of the V views of the projection; that of the chosen side is kept, once
            for each depth map.
        image_features: float array (V, D), likewise.

    Added keys:
        depth_views: float32 array (2, H, W) in [0, 1].

    Args:
        projection: Arguments of :class:`RenderedDepthProjection`; the views of pre-training by default.
        distances: Range of the distance of the camera.
    """

    def __init__(self, projection: dict | None = None, distances: Sequence[float] = (.9, 1.1)) -> None:
        arguments = dict(projection or dict(views='few_shot'), type='RenderedDepthProjection')
        self.projection: RenderedDepthProjection = build_projection(arguments)
        if len(distances) != 2 or not 0 < distances[0] <= distances[1]:
            raise ValueError(f'distances must be a range of positive numbers, got {distances}')
        self.distances = (float(distances[0]), float(distances[1]))

    def transform(self, results: dict) -> dict:
        """Add ``depth_views`` and choose the image.

        Raises:
            ValueError: There is another number of images than of views.
        """
        points, view = point_coordinates(results), int(np.random.randint(self.projection.num_views))
        maps = [self.projection([points], view, float(np.random.uniform(*self.distances)))[0] for _ in range(2)]
        results['depth_views'] = torch.cat(maps).cpu().numpy()
        for key in ('images', 'image_features'):
            if key in results:
                if len(results[key]) != self.projection.num_views:
                    raise ValueError(f"{results.get('sample_id', 'the object')} has {len(results[key])} '{key}', the "
                                     f'projection has {self.projection.num_views} views; they must belong together')
                results[key] = results[key][[view, view]]
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}(projection={self.projection!r}, distances={self.distances})'
