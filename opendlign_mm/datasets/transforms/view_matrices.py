"""Where a point of the cloud appears in each depth view, as a matrix that mmdet3d's point-image fusion understands."""
from torch import Tensor

from ...projection import ContourAwareProjection, view_axes
from ...projection.views import points_in_views


def view_matrices(points: Tensor, projection: ContourAwareProjection) -> Tensor:
    """Matrices from points to the pixels of the depth views of that cloud.

    The views are orthographic: the last coordinate of a projected point is 1, so that dividing by it, as mmdet3d's
    ``points_cam2img`` does, changes nothing.

    Args:
        points: (N, 3) float tensor, the cloud that is projected; its extent decides scale and position in each view.
        projection: The projection that makes the views.

    Returns:
        (V, 4, 4) float32 on the device of ``points``. Row 0 gives the column, row 1 the image row, both in pixels with
        (0, 0) the centre of the upper left pixel. An empty cloud has the matrices of a cloud at the origin.
    """
    axes = view_axes(projection.view_angles, projection.elevation, points.device)
    right, up, _ = axes
    seen = points_in_views(points if len(points) else points.new_zeros(1, 3), axes)
    pixels_per_unit = projection.object_ratio * (projection.resolution - 1) / seen.unit[:, 0]
    middle = [(low + high)[:, 0] / 2 for low, high in zip(seen.low, seen.high)]

    matrices = points.new_zeros(len(right), 4, 4)
    matrices[:, 0, :3] = right * pixels_per_unit[:, None]
    matrices[:, 1, :3] = -up * pixels_per_unit[:, None]
    matrices[:, 0, 3] = .5 * (projection.resolution - 1) - middle[0] * pixels_per_unit
    matrices[:, 1, 3] = .5 * (projection.resolution - 1) + middle[1] * pixels_per_unit
    matrices[:, 2:, 3] = 1
    return matrices
