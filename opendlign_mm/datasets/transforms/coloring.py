"""Projection of colored points to color views, and leaving colors out of a training at random."""
from typing import Any

import numpy as np
import torch
from mmcv.transforms import BaseTransform
from mmdet3d.registry import TRANSFORMS
from torch import Tensor

from ...projection import ColorProjection, ContourAwareProjection
from .projecting import point_coordinates


@TRANSFORMS.register_module()
class ProjectPointsToColor(BaseTransform):
    """Transform that projects points with colors to color views, by the cameras of the depth views.

    Required keys:
        points: float tensor or array (N, >=3), or mmdet3d's ``BasePoints``; z up, any scale.
    Optional keys:
        colors: RGB of the points, (N, 3): uint8, or floats in [0, 1]; without them those of ``BasePoints``.

    Added keys:
        color_views: uint8 array (V, H, W, 3), RGB on a white background; white where there are no colors.
        has_color: bool array (), whether the points have colors.

    Args:
        projection: That of ``ProjectPointsToDepth``: arguments of a ``ContourAwareProjection``, or one.
        surface_depth: See :class:`ColorProjection`.

    Raises:
        ValueError: There are no points, or points or colors cannot be used; the message names the sample.
    """

    def __init__(self, projection: dict | ContourAwareProjection | None = None, surface_depth: float = .02) -> None:
        self.projection = ColorProjection(projection, surface_depth)

    def transform(self, results: dict) -> dict:
        """Add the color views to ``results``."""
        points, colors = point_coordinates(results), _colors_of(results)
        has_color = colors is not None
        try:
            views = self.projection([points if has_color else points[:0]],
                                    [points[:0] if colors is None else torch.as_tensor(colors)])[0]
        except ValueError as error:
            name = results.get('sample_id', results.get('lidar_path', 'a sample'))
            raise ValueError(f'{name}: {error}') from error
        results['color_views'] = np.ascontiguousarray(views.permute(0, 2, 3, 1).cpu().numpy())
        results['has_color'] = np.array(has_color)
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}(projection={self.projection!r})'


@TRANSFORMS.register_module()
class DropColorViews(BaseTransform):
    """Transform for a training on color views that leaves out those of an object at random.

    A model that has seen every object with colors relies on them. It goes behind ``DiskCache``.

    Required keys:
        color_views: uint8 array (V, H, W, 3).
        has_color: bool.

    Args:
        probability: Probability that an object has no colors in a pass, in [0, 1].

    Raises:
        ValueError: ``probability`` is outside [0, 1], or there are no color views.
    """

    def __init__(self, probability: float = .5) -> None:
        if not 0 <= probability <= 1:
            raise ValueError(f'probability must lie in [0, 1], got {probability}')
        self.probability = probability

    def transform(self, results: dict) -> dict:
        """Drop ``color_views`` at random."""
        if 'color_views' not in results:
            raise ValueError('DropColorViews needs color_views; put ProjectPointsToColor before it')
        if np.random.random() < self.probability:
            results['color_views'] = np.full_like(results['color_views'], 255)
            results['has_color'] = np.array(False)
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}(probability={self.probability})'


def _colors_of(results: dict) -> Any:
    """Return the colors of a sample, None if it has none."""
    if results.get('colors') is not None:
        return results['colors']
    points = results['points']
    if 'color' in (getattr(points, 'attribute_dims', None) or {}):
        return points.color
    return None


def as_tensors(results: dict, name: Any) -> dict[str, Tensor]:
    """Return ``color_views`` as uint8 (V, 3, H, W) and ``has_color`` as a bool, as models take them.

    Raises:
        ValueError: The views are no uint8 array (V, H, W, 3).
    """
    views = results['color_views']
    if not isinstance(views, np.ndarray) or views.dtype != np.uint8 or views.ndim != 4 or views.shape[3] != 3:
        raise ValueError(f"{name}: 'color_views' must be a uint8 array (V, H, W, 3), got "
                         f'{getattr(views, "dtype", type(views).__name__)} {getattr(views, "shape", "")}')
    return dict(color_views=torch.from_numpy(np.ascontiguousarray(views.transpose(0, 3, 1, 2))),
                has_color=torch.tensor(bool(results.get('has_color', True))))
