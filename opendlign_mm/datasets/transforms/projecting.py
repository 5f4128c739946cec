"""Points to depth views, as a pipeline transform."""
from typing import Callable, Optional, Union

from mmcv.transforms import BaseTransform
from mmdet3d.registry import TRANSFORMS

from ...projection import ContourAwareProjection, build_projection
from .points import point_coordinates
from .view_matrices import view_matrices


@TRANSFORMS.register_module()
class ProjectPointsToDepth(BaseTransform):
    """Project a point cloud to depth views with the contour-aware projection (paper, section 3.1).

    Required keys:
        points: float tensor or array (N, >=3), or mmdet3d's ``BasePoints``; z up, any scale.

    Added keys:
        depth_views: float32 array (V, H, W) in [0, 1], white background 1.0, near is dark.
        depth_view_matrices: float32 array (V, 4, 4), if ``with_matrices``; see :func:`view_matrices`.

    Args:
        projection: Arguments of a projection, or a callable; see :func:`build_projection`. None: the contour-aware
            projection with its defaults.
        with_matrices: Also give the matrix that takes a point to its pixel in each view.
        points_key: Key of the points to project.
        depth_key: Key of the depth views to add.

    Raises:
        ValueError: No points, a wrong shape, or non-finite coordinates; the message names the sample.
    """

    def __init__(self, projection: Optional[Union[dict, Callable]] = None, with_matrices: bool = False,
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
            # The projection knows neither files nor samples; whoever has to mend the points does.
            name = results.get('sample_id', results.get('lidar_path', results.get('sample_idx', 'a sample')))
            raise ValueError(f"'{self.points_key}' of {name}: {error}") from error
        results[self.depth_key] = depth_views.cpu().numpy()
        if self.with_matrices:
            results['depth_view_matrices'] = view_matrices(points, self.projection).cpu().numpy()
        return results

    def __repr__(self) -> str:
        return (f'{type(self).__name__}(projection={self.projection!r}, with_matrices={self.with_matrices}, '
                f'points_key={self.points_key!r}, depth_key={self.depth_key!r})')
