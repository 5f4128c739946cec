"""Realistic projection of PointCLIP V2, the baseline of the contour-aware projection (OpenDlign, table 4)."""
import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from .views import checked_clouds, view_axes

# PointCLIP V2's ten views: four oblique and four straight ones around the object, and two from above and below, as
# rotations about x, y, z; each is then tilted a little to show more surface.
_QUARTER = math.pi / 4
_ROTATIONS = [(k * _QUARTER, 0., 2 * _QUARTER) for k in (1, 3, 5, 7, 0, 2, 4, 6)] + [
    (0., -2 * _QUARTER, 2 * _QUARTER), (0., 2 * _QUARTER, 2 * _QUARTER)]
_TILTS = [math.pi / 9] * 8 + [math.pi / 15] * 2


class RealisticProjection:
    """Project point clouds as PointCLIP V2 does: quantize, densify, smooth with a Gaussian, squeeze.

    Unlike the contour-aware projection it dilates and smooths within slices of depth and across contours, and rounds
    depth to few bins.

    Args:
        resolution: Height and width of the voxel grid.
        depth_bins: Voxels along the viewing direction; two of them stay empty.
        densify_kernel: Odd side of the square over which a voxel takes the maximum. The padding is two pixels, so the
            map shrinks by ``densify_kernel - 5`` pixels.
        smooth_kernel: Odd side of the Gaussian filter.
        sigma: Standard deviation of the Gaussian in pixels.
        object_ratio: Share of the frame that the longest side fills, in (0, 1].
        depth_bias: Offset b >= 0 of the depth values: nearness z in [0, 1] becomes (z + b) / (1 + b).
        view_angles: None for PointCLIP V2's own ten views of a cloud with y up, or the azimuths in degrees of views
            around a cloud with z up, as in :class:`ContourAwareProjection`.
        elevation: Height above the horizon, in degrees, of the cameras at ``view_angles``.
        output_resolution: Resize the maps bilinearly to this height and width; None leaves them as they are.

    Raises:
        ValueError: An argument is outside its range.
    """

    def __init__(self,
                 resolution: int = 112,
                 depth_bins: int = 8,
                 densify_kernel: int = 7,
                 smooth_kernel: int = 3,
                 sigma: float = 3.,
                 object_ratio: float = .8,
                 depth_bias: float = .2,
                 view_angles: Sequence[float] | None = None,
                 elevation: float = 20.,
                 output_resolution: int | None = None) -> None:
        if resolution < 8 or depth_bins < 3 or densify_kernel % 2 == 0 or smooth_kernel % 2 == 0:
            raise ValueError('RealisticProjection needs resolution >= 8, depth_bins >= 3 and odd kernels, got '
                             f'{resolution}, {depth_bins}, {densify_kernel} and {smooth_kernel}')
        if not 0 < object_ratio <= 1 or depth_bias < 0 or sigma <= 0:
            raise ValueError('RealisticProjection needs object_ratio in (0, 1], depth_bias >= 0 and sigma > 0, got '
                             f'{object_ratio}, {depth_bias} and {sigma}')
        self.resolution, self.depth_bins = resolution, depth_bins
        self.densify_kernel, self.smooth_kernel, self.sigma = densify_kernel, smooth_kernel, sigma
        self.object_ratio, self.depth_bias = object_ratio, depth_bias
        self.view_angles = None if view_angles is None else tuple(float(angle) for angle in view_angles)
        self.elevation, self.output_resolution = elevation, output_resolution

    @property
    def num_views(self) -> int:
        """Number V of depth maps per cloud."""
        return len(_ROTATIONS) if self.view_angles is None else len(self.view_angles)

    def __call__(self, points: Tensor | list[Tensor]) -> Tensor:
        """Project a batch of clouds.

        Args:
            points: (B, N, 3) float tensor, any scale, or a list of B tensors (N_i, 3). An empty cloud has white
                views.

        Returns:
            (B, V, H, W) float32 in [0, 1] on the device of the input, white background 1.0, near is dark.

        Raises:
            TypeError: ``points`` is not a float tensor or a list of float tensors.
            ValueError: A cloud has another shape than (N, 3), or non-finite coordinates, which the message counts.
        """
        clouds = checked_clouds(points)
        maps = torch.stack([self._depth_maps(cloud) for cloud in clouds]) if clouds else torch.ones(
            0, self.num_views, self.resolution, self.resolution)
        if self.output_resolution is not None and len(clouds):
            size = (self.output_resolution, ) * 2
            maps = F.interpolate(maps, size, mode='bilinear', align_corners=False)
        return maps

    def _axes(self, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
        """Return the down, right and toward-the-viewer axes, each (V, 3)."""
        if self.view_angles is not None:
            right, up, toward = view_axes(self.view_angles, self.elevation, device)
            return -up, right, toward
        rotations = torch.stack([_rotation(0., tilt, 0.) @ _rotation(*angles)
                                 for angles, tilt in zip(_ROTATIONS, _TILTS, strict=True)])
        down, right, toward = rotations.to(device, torch.float32).unbind(1)
        return down, right, toward

    def _depth_maps(self, cloud: Tensor) -> Tensor:
        """Project one cloud (N, 3) to (V, H, W)."""
        size, bins = self.resolution, self.depth_bins
        grid = cloud.new_zeros(self.num_views, bins * size * size, dtype=torch.float32)
        if len(cloud):
            inside = torch.stack([axis @ cloud.float().T for axis in self._axes(cloud.device)])  # (3, V, N)
            low, high = inside.amin(-1, True), inside.amax(-1, True)
            longest = (high - low).amax(0, True)
            unit = torch.where(longest > 0, longest, torch.ones_like(longest))
            centered = (inside - (low + high) / 2) / unit * 2  # [-1, 1]
            row, column = (((axis * self.object_ratio + 1) / 2 * size).ceil().clamp(1, size - 2)
                           for axis in centered[:2])
            depth = ((centered[2] + 1) / 2 + self.depth_bias) / (1 + self.depth_bias) * (bins - 2)
            index = (depth.ceil().clamp(0, bins - 1) * size + row) * size + column
            grid.scatter_reduce_(1, index.long(), depth.clamp(1, bins - 2), 'amax')
        grid = grid.view(self.num_views, 1, bins, size, size)
        grid = F.max_pool3d(grid, (1, self.densify_kernel, self.densify_kernel), 1, (0, 2, 2))
        nearness = F.conv3d(grid, self._gaussian(grid), padding=(0, self.smooth_kernel // 2, self.smooth_kernel // 2))
        nearness = nearness.squeeze(1).amax(1)
        return 1 - nearness / nearness.amax((1, 2), True).clamp(min=1e-12)

    def _gaussian(self, like: Tensor) -> Tensor:
        offset = torch.arange(self.smooth_kernel, device=like.device, dtype=like.dtype) - self.smooth_kernel // 2
        along = torch.exp(-offset.square() / (2 * self.sigma**2))
        weights = along[:, None] * along
        return (weights / weights.sum())[None, None, None]

    def __repr__(self) -> str:
        arguments = ', '.join(f'{name}={value!r}' for name, value in vars(self).items())
        return f'{type(self).__name__}({arguments})'


def _rotation(x: float, y: float, z: float) -> Tensor:
    """Return the rotation matrix Rx(x) Ry(y) Rz(z), float64 (3, 3), for angles in radians."""
    rotation = torch.eye(3, dtype=torch.float64)
    for axis, angle in enumerate((x, y, z)):
        first, second = [(1, 2), (2, 0), (0, 1)][axis]
        about_axis = torch.eye(3, dtype=torch.float64)
        about_axis[first, first] = about_axis[second, second] = math.cos(angle)
        about_axis[second, first], about_axis[first, second] = math.sin(angle), -math.sin(angle)
        rotation = rotation @ about_axis
    return rotation
