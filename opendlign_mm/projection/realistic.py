"""Realistic projection of PointCLIP V2, the baseline of the contour-aware projection (OpenDlign, table 4)."""
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from .views import (
    checked_angles,
    checked_clouds,
    normalized_if_needed,
    number_between,
    odd_number,
    view_axes,
    whole_number,
)

# Azimuths and elevations in degrees of PointCLIP V2's ten views, all tilted a little to show more surface: four oblique
# and four straight ones around the object, one from below and one from above, beyond the top.
OWN_ANGLES = (45, 135, 225, 315, 0, 90, 180, 270, 0, 0)
OWN_ELEVATIONS = (20, 20, 20, 20, 20, 20, 20, 20, -78, 102)


class RealisticProjection:
    """Project point clouds as PointCLIP V2 does: quantize, densify, smooth with a Gaussian, squeeze.

    Unlike the contour-aware projection it dilates and smooths within slices of depth and across contours, and rounds
    depth to few bins.

    Args:
        resolution: Height and width of a depth map in pixels. As in the released code the voxel grid is larger, by
            ``densify_kernel - 5`` pixels if that is positive, because densifying pads it by two pixels only.
        depth_bins: Voxels along the viewing direction; two of them stay empty.
        densify_kernel: Odd side of the square over which a voxel takes the maximum.
        smooth_kernel: Odd side of the Gaussian filter.
        sigma: Standard deviation of the Gaussian in pixels.
        object_ratio: Share of the frame that the longest side fills, in (0, 1].
        depth_bias: Offset b >= 0 of the depth values: nearness z in [0, 1] becomes (z + b) / (1 + b).
        view_angles: Azimuth of each view about the vertical axis in degrees, as in :class:`ContourAwareProjection`;
            None for PointCLIP V2's own ten views.
        elevation: Height above the horizon, in degrees, of the cameras at ``view_angles``.
        output_resolution: Resize the maps bilinearly to this height and width; None leaves them as they are.
        align_corners: Whether resizing keeps the centers of the corner pixels in place, as in the released code, or
            the edges of the map.

    Raises:
        ValueError: An argument is outside its range; the message names it.
    """

    def __init__(self,
                 resolution: int = 110,
                 depth_bins: int = 8,
                 densify_kernel: int = 7,
                 smooth_kernel: int = 3,
                 sigma: float = 3.,
                 object_ratio: float = .8,
                 depth_bias: float = .2,
                 view_angles: Sequence[float] | None = None,
                 elevation: float = 20.,
                 output_resolution: int | None = None,
                 align_corners: bool = False) -> None:
        self.resolution = whole_number('resolution', resolution, 8)
        self.depth_bins = whole_number('depth_bins', depth_bins, 3)
        self.densify_kernel = odd_number('densify_kernel', densify_kernel)
        self.smooth_kernel = odd_number('smooth_kernel', smooth_kernel)
        self.sigma = number_between('sigma', sigma, 0, float('inf'))
        self.object_ratio = number_between('object_ratio', object_ratio, 0, 1, include_high=True)
        self.depth_bias = number_between('depth_bias', depth_bias, 0, float('inf'), include_low=True)
        self.view_angles = None if view_angles is None else checked_angles(view_angles)
        self.elevation = number_between('elevation', elevation, -90, 90)
        self.output_resolution = None
        if output_resolution is not None:
            self.output_resolution = whole_number('output_resolution', output_resolution, 1)
        self.align_corners = bool(align_corners)

    @property
    def num_views(self) -> int:
        """Number V of depth maps per cloud."""
        return len(OWN_ANGLES if self.view_angles is None else self.view_angles)

    def __call__(self, points: Tensor | list[Tensor]) -> Tensor:
        """Project a batch of clouds.

        Args:
            points: (B, N, 3) float tensor, z up, or a list of B tensors (N_i, 3), at any place and scale. An empty
                cloud has white views.

        Returns:
            (B, V, H, W) float32 in [0, 1] on the device of the input, white background 1.0, near is dark.

        Raises:
            TypeError: ``points`` is not a float tensor or a list of float tensors.
            ValueError: A cloud has another shape than (N, 3), or non-finite coordinates, which the message counts.
        """
        clouds = checked_clouds(points)
        size = (self.output_resolution or self.resolution,) * 2
        if not clouds:
            return torch.ones(0, self.num_views, *size, device=points.device if isinstance(points, Tensor) else None)
        depth_views = torch.stack([self._depth_maps(cloud) for cloud in clouds])
        if self.output_resolution is not None:
            depth_views = F.interpolate(depth_views, size, mode='bilinear', align_corners=self.align_corners)
        return depth_views

    def _axes(self, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
        """Return the down, right and toward-the-viewer axes, each (V, 3)."""
        if self.view_angles is None:
            right, up, toward = view_axes(OWN_ANGLES, OWN_ELEVATIONS, device)
        else:
            right, up, toward = view_axes(self.view_angles, self.elevation, device)
        return -up, right, toward

    def _depth_maps(self, cloud: Tensor) -> Tensor:
        """Project one cloud (N, 3) to (V, H, W)."""
        pad = min(2, self.densify_kernel // 2)
        size, bins = self.resolution + self.densify_kernel - 1 - 2 * pad, self.depth_bins
        grid = cloud.new_zeros(self.num_views, bins * size * size, dtype=torch.float32)
        if len(cloud):
            cloud = normalized_if_needed(cloud)
            inside = torch.stack([axis @ cloud.T for axis in self._axes(cloud.device)])  # (3, V, N)
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
        grid = F.max_pool3d(grid, (1, self.densify_kernel, self.densify_kernel), 1, (0, pad, pad))
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
