"""PointCLIP's projection: sparse depth maps in perspective (PointCLIP, section 3.1), a baseline of OpenDlign."""
import math
from typing import Literal, NamedTuple, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from .views import checked_clouds, in_unit_ball, number_between, whole_number

Views = Literal['zero_shot', 'few_shot']
AROUND = ((0, 0), (90, 0), (180, 0), (270, 0))
CORNERS = ((225, -45), (225, 45), (315, -45), (315, 45))
POLES = ((0, -90), (0, 90))


class _Setting(NamedTuple):
    """Rotations of the views about x and y in degrees, height and width in pixels, distance of the camera."""
    rotations: tuple[tuple[int, int], ...]
    resolution: int
    distance: float


# The two settings of the released code.
SETTINGS = dict(zero_shot=_Setting(AROUND + POLES, 128, 1.6), few_shot=_Setting(AROUND + CORNERS + POLES, 224, 1.4))


class PointCLIPProjection:
    """Project point clouds as PointCLIP does: one pixel per point, in perspective, the value is the depth.

    A pixel without a point is 0. One with points has the harmonic mean of their depths, in which near points weigh
    more, divided by ``max_depth``, so that the values lie in [0, 1]. The released code does not divide: a CLIP that is
    to see its pixels has ``pixel_mean=(0, 0, 0)`` and ``pixel_std`` 1 / ``max_depth``.

    As in the released code the views are mirror images of what a camera sees.

    Args:
        views: ``'zero_shot'``: six views, four around the object and two along its vertical axis, 128 x 128 pixels
            from distance 1.6. ``'few_shot'``: ten views, four of corners in between, 224 x 224 pixels from distance
            1.4.
        normalize: Move the mean of a cloud to the origin and its farthest point to distance 1. The released code does
            not, as ModelNet40's files are made so; without it points behind the camera are not drawn.
        resolution: Height and width in pixels; None: that of ``views``.
        distance: Distance of the camera from the origin, > 1; None: that of ``views``.
        max_depth: Depth that has the value 1; at least ``distance`` + 1. Clouds with farther points are refused.
        output_resolution: Resize the maps bilinearly, corner pixels to corner pixels, to this height and width; None
            leaves them as they are.

    Raises:
        ValueError: An argument is outside its range; the message names it.
    """

    def __init__(self, views: Views = 'zero_shot', normalize: bool = True, resolution: int | None = None,
                 distance: float | None = None, max_depth: float = 4., output_resolution: int | None = 224) -> None:
        if views not in get_args(Views):
            raise ValueError(f'views must be one of {get_args(Views)}, got {views!r}')
        setting = SETTINGS[views]
        self.views, self.normalize = views, bool(normalize)
        self.resolution = whole_number('resolution', setting.resolution if resolution is None else resolution, 2)
        self.distance = number_between('distance', setting.distance if distance is None else distance, 1,
                                       float('inf'))
        self.max_depth = number_between('max_depth', max_depth, self.distance + 1, float('inf'), include_low=True)
        self.output_resolution = None
        if output_resolution is not None:
            self.output_resolution = whole_number('output_resolution', output_resolution, 1)

    @property
    def num_views(self) -> int:
        """Number V of depth maps per cloud."""
        return len(SETTINGS[self.views].rotations)

    def __call__(self, points: Tensor | list[Tensor]) -> Tensor:
        """Project a batch of clouds.

        Args:
            points: (B, N, 3) float tensor, z up, or a list of B tensors (N_i, 3), at any place and scale with
                ``normalize``. An empty cloud has black views.

        Returns:
            (B, V, H, W) float32 in [0, 1] on the device of the input: background 0, near is darker than far.

        Raises:
            TypeError: ``points`` is not a float tensor or a list of float tensors.
            ValueError: A cloud has another shape than (N, 3), non-finite coordinates, or, without ``normalize``,
                points beyond ``max_depth``.
        """
        clouds = checked_clouds(points)
        size = (self.output_resolution or self.resolution, ) * 2
        if not clouds:
            return torch.zeros(0, self.num_views, *size, device=points.device if isinstance(points, Tensor) else None)
        depth_views = torch.stack([self._depth_maps(cloud, index) for index, cloud in enumerate(clouds)])
        if size[0] != self.resolution:
            depth_views = F.interpolate(depth_views, size, mode='bilinear', align_corners=True)
        return depth_views

    def _depth_maps(self, cloud: Tensor, index: int) -> Tensor:
        """Project one cloud (N, 3) to (V, H, W)."""
        cloud = in_unit_ball(cloud) if self.normalize and len(cloud) else cloud.float()
        turned = torch.stack((cloud[:, 0], cloud[:, 2], -cloud[:, 1]), 1)  # y up, as the rotations of the views
        down, right, depth = (self._rotations(cloud.device) @ turned.T).unbind(1)  # each (V, N)
        depth = depth + self.distance
        if len(cloud) and float(depth.max()) > self.max_depth:
            raise ValueError(f'cloud {index} has points at depth {float(depth.max()):.4g}, beyond max_depth='
                             f'{self.max_depth}; set normalize=True')
        in_front = depth > 1e-6
        depth = torch.where(in_front, depth, torch.ones_like(depth))
        row, column = (torch.ceil((axis / depth + 1) * (self.resolution / 2) - .5) for axis in (down, right))
        inside = in_front & (row >= 0) & (row < self.resolution) & (column >= 0) & (column < self.resolution)
        # What is outside goes to a surplus pixel.
        pixel = torch.where(inside, row * self.resolution + column, self.resolution**2).long()
        count, inverse = (cloud.new_zeros(self.num_views, self.resolution**2 + 1) for _ in range(2))
        count.scatter_add_(1, pixel, torch.ones_like(depth))
        inverse.scatter_add_(1, pixel, 1 / depth)
        maps = count[:, :-1] / inverse[:, :-1].clamp(min=1e-12) / self.max_depth
        return maps.clamp_(max=1).view(self.num_views, self.resolution, self.resolution)

    def _rotations(self, device: torch.device) -> Tensor:
        """Return the rotations from y-up coordinates to (down, right, depth), float32 (V, 3, 3)."""
        return torch.tensor([_rotation(*map(math.radians, angles)) for angles in SETTINGS[self.views].rotations],
                            device=device)

    def __repr__(self) -> str:
        arguments = ', '.join(f'{name}={value!r}' for name, value in vars(self).items())
        return f'{type(self).__name__}({arguments})'


def _rotation(x: float, y: float) -> list[list[float]]:
    """Return the product of the rotations about x, about y and by a quarter turn about z."""
    cx, sx, cy, sy = math.cos(x), math.sin(x), math.cos(y), math.sin(y)
    return [[0., -cy, sy], [cx, -sx * sy, -sx * cy], [sx, cx * sy, cx * cy]]
