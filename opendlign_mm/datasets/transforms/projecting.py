"""Projection of points to depth views, for shapes and for scenes in mmdet3d pipelines."""
from collections.abc import Callable

import numpy as np
import torch
from mmcv.transforms import BaseTransform
from mmdet3d.registry import TRANSFORMS
from torch import Tensor

from ...projection import ContourAwareProjection, build_projection, view_axes
from ...projection.views import points_in_views

MAX_PIXEL_OFFSET = 1e6  # float32 has 24 bits: beyond it a matrix is wrong by more than a tenth of a pixel


@TRANSFORMS.register_module()
class ProjectPointsToDepth(BaseTransform):
    """Transform that projects a point cloud to depth views (OpenDlign, section 3.1).

    Required keys:
        points: float tensor or array (N, >=3), or mmdet3d's ``BasePoints``; z up, any scale.

    Added keys:
        depth_views: float32 array (V, H, W) in [0, 1], white background 1.0, near is dark.
        depth_view_matrices: float32 array (V, 4, 4), if ``with_matrices``; see :func:`view_matrices`.

    Args:
        projection: Arguments of a projection, or a callable; see :func:`build_projection`. None: the contour-aware
            projection with its defaults.
        with_matrices: Whether to add the matrices that take points to their pixels.
        points_key: Key of the points to project.
        depth_key: Key of the depth views to add.

    Raises:
        ValueError: There are no points, or they have another shape or non-finite coordinates; the message names the
            sample.
    """

    def __init__(self, projection: dict | Callable | None = None, with_matrices: bool = False,
                 points_key: str = 'points', depth_key: str = 'depth_views') -> None:
        self.projection = build_projection(projection)
        if with_matrices and not isinstance(self.projection, ContourAwareProjection):
            raise ValueError('with_matrices needs a ContourAwareProjection, whose geometry it describes, got '
                             f'{type(self.projection).__name__}')
        self.with_matrices = with_matrices
        self.points_key, self.depth_key = points_key, depth_key

    def transform(self, results: dict) -> dict:
        """Add the depth views to ``results``."""
        points = point_coordinates(results, self.points_key)
        try:
            depth_views = self.projection([points])[0]
        except ValueError as error:
            # The projection knows neither files nor samples.
            name = results.get('sample_id', results.get('lidar_path', results.get('sample_idx', 'a sample')))
            raise ValueError(f"'{self.points_key}' of {name}: {error}") from error
        results[self.depth_key] = depth_views.cpu().numpy()
        if self.with_matrices:
            results['depth_view_matrices'] = view_matrices(points, self.projection).cpu().numpy()
        return results

    def __repr__(self) -> str:
        return (f'{type(self).__name__}(projection={self.projection!r}, with_matrices={self.with_matrices}, '
                f'points_key={self.points_key!r}, depth_key={self.depth_key!r})')


@TRANSFORMS.register_module()
class DepthViewToImage(BaseTransform):
    """Transform that makes one depth view the image of a multi-modal mmdet3d pipeline.

    It goes after ``ProjectPointsToDepth(with_matrices=True)`` and before transforms that move the points or the image:
    mmdet3d's fusion layers undo those themselves.

    Required keys:
        depth_views: float array (V, H, W) in [0, 1].
        depth_view_matrices: float array (V, 4, 4).

    Added keys:
        img: uint8 array (H, W, 3) in [0, 255], three equal channels.
        img_shape, ori_shape, pad_shape: (H, W).
        depth2img: float32 array (4, 4), from points to pixels (mmdet3d's 'DEPTH' coordinates).

    Args:
        view: Index of the view.

    Raises:
        ValueError: A required key is missing, or there is no such view.
    """

    def __init__(self, view: int = 0) -> None:
        self.view = view

    def transform(self, results: dict) -> dict:
        """Add ``img`` and ``depth2img`` to ``results``."""
        if 'depth_views' not in results or 'depth_view_matrices' not in results:
            raise ValueError("DepthViewToImage needs 'depth_views' and 'depth_view_matrices'; put "
                             'ProjectPointsToDepth(with_matrices=True) before it')
        num_views = len(results['depth_views'])
        if not 0 <= self.view < num_views:
            raise ValueError(f'view={self.view}, but the projection gives the views 0 to {num_views - 1}')
        view = results['depth_views'][self.view]
        results['img'] = np.repeat(np.rint(view * 255).astype(np.uint8)[..., None], 3, axis=-1)
        results['img_shape'] = results['ori_shape'] = results['pad_shape'] = view.shape
        results['depth2img'] = results['depth_view_matrices'][self.view]
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}(view={self.view})'


def view_matrices(points: Tensor, projection: ContourAwareProjection) -> Tensor:
    """Compute the matrices from points to the pixels of the depth views of their cloud.

    The views are orthographic: the last coordinate of a projected point is 1, so that dividing by it, as mmdet3d's
    ``points_cam2img`` does, changes nothing.

    Args:
        points: Cloud that is projected, float (N, 3); its extent decides scale and position in each view.
        projection: Projection that makes the views.

    Returns:
        (V, 4, 4) float32 on the device of ``points``. Row 0 gives the column, row 1 the image row, both in pixels with
        (0, 0) the center of the upper left pixel. An empty cloud has the matrices of a cloud at the origin.

    Raises:
        ValueError: The cloud is too far from the origin for its size.
    """
    axes = view_axes(projection.view_angles, projection.elevation, points.device, torch.float64)
    right, up, _ = axes
    seen = points_in_views(points if len(points) else points.new_zeros(1, 3), axes)
    pixels_per_unit = projection.object_ratio * (projection.resolution - 1) / seen.unit[:, 0]
    middle = [(low + high)[:, 0] / 2 for low, high in zip(seen.low, seen.high, strict=True)]

    matrices = right.new_zeros(len(right), 4, 4)
    matrices[:, 0, :3] = right * pixels_per_unit[:, None]
    matrices[:, 1, :3] = -up * pixels_per_unit[:, None]
    matrices[:, 0, 3] = .5 * (projection.resolution - 1) - middle[0] * pixels_per_unit
    matrices[:, 1, 3] = .5 * (projection.resolution - 1) + middle[1] * pixels_per_unit
    matrices[:, 2:, 3] = 1
    if matrices[:, :2, 3].abs().max() > MAX_PIXEL_OFFSET:
        raise ValueError('the points are too far from the origin, compared with their size, for matrices to their '
                         'pixels; center them before')
    return matrices.float()


def point_coordinates(results: dict, key: str = 'points') -> Tensor:
    """Return the coordinates of ``results[key]``.

    Args:
        results: Results of a pipeline; under ``key`` is a float tensor or array (N, >=3), or mmdet3d's ``BasePoints``.
        key: Key of the points.

    Returns:
        (N, 3) tensor, float64 if the points are, float32 otherwise: the projection centers clouds in map coordinates,
        which float32 would round.

    Raises:
        ValueError: There are no points, or they have another shape.
    """
    if key not in results:
        raise ValueError(f"the pipeline's results have no '{key}'; load them first, e.g. with LoadPointsFromFile "
                         f'(there are: {", ".join(sorted(results)) or "none"})')
    points = results[key]
    # BasePoints is recognized by its attribute, as importing it would import all of mmdet3d.
    points = points.coord if hasattr(points, 'coord') else points
    points = torch.from_numpy(points) if isinstance(points, np.ndarray) else points
    if not isinstance(points, Tensor) or points.ndim != 2 or points.shape[1] < 3:
        shape = tuple(points.shape) if isinstance(points, Tensor) else type(points).__name__
        raise ValueError(f"'{key}' must be (N, >=3) with x, y, z first, got {shape}")
    return points[:, :3] if points.dtype == torch.float64 else points[:, :3].float()
