"""CLIP2Point's depth rendering: each point is a small disc, seen without perspective (CLIP2Point, section 3.1)."""
import math
from collections.abc import Sequence
from typing import Literal, get_args

import torch
from torch import Tensor

from ..compiled import compiled
from .views import checked_clouds, in_unit_ball, number_between, whole_number

Backend = Literal['auto', 'numba', 'torch']
# Azimuth and elevation in degrees of the released code's views.
VIEWS = dict(
    zero_shot=((0, 0), (90, 0), (180, 0), (270, 0), (0, 90), (180, -90)),
    few_shot=((0, 0), (0, 90), (0, 180), (0, 270), (-45, 225), (45, 225), (-45, 315), (45, 315), (-90, 0), (90, 0)))
# Nearest and background values: depths are squeezed into the darker 200 of 255 gray values.
RANGE = 200 / 255


class RenderedDepthProjection:
    """Render point clouds as CLIP2Point does: discs of one radius, the nearest one in each pixel, white background.

    The value of a pixel is (z - m) / M * 200/255 for the depth z of its nearest point, the largest depth M in the view
    and the smallest depth m, which is at most 1 where a pixel is empty.

    Args:
        views: ``'zero_shot'``: six views, four around the object, one from above and one from below. ``'few_shot'``:
            the ten views of pre-training and few-shot classification. Or pairs of azimuth and elevation in degrees.
        resolution: Height and width in pixels; 2 units of a normalized cloud fill them.
        radius: Radius of a disc, in units of a normalized cloud, in (0, 1).
        yaw: Turn of the cloud about its vertical axis in degrees, counter-clockwise as seen from above, before it is
            rendered. The released code turns ModelNet40's aligned meshes by 90, other data not.
        distance: Distance of the camera, to which the size of the object is inversely proportional; the released code
            draws it from [0.9, 1.1] in pre-training.
        normalize: Move the mean of a cloud to the origin and its farthest point to distance 1, as the released code
            does with all clouds.
        backend: Implementation: 'numba' (CPU tensors), 'torch' (any device) or 'auto' ('numba' for CPU tensors,
            'torch' for others).

    Raises:
        ValueError: An argument is outside its range; the message names it.
    """

    def __init__(self, views: Literal['zero_shot', 'few_shot'] | Sequence[tuple[float, float]] = 'zero_shot',
                 resolution: int = 224, radius: float = .02, yaw: float = 0., distance: float = 1.,
                 normalize: bool = True, backend: Backend = 'auto') -> None:
        self.views = _checked_views(views)
        self.resolution = whole_number('resolution', resolution, 1)
        self.radius = number_between('radius', radius, 0, 1)
        self.yaw = number_between('yaw', yaw, -float('inf'), float('inf'))
        self.distance = number_between('distance', distance, 0, float('inf'))
        self.normalize = bool(normalize)
        if backend not in get_args(Backend):
            raise ValueError(f'backend must be one of {get_args(Backend)}, got {backend!r}')
        self.backend = backend

    @property
    def num_views(self) -> int:
        """Number V of depth maps per cloud."""
        return len(self.views)

    def __call__(self, points: Tensor | list[Tensor], view: int | None = None, distance: float | None = None) -> Tensor:
        """Render a batch of clouds.

        Args:
            points: (B, N, 3) float tensor, z up, or a list of B tensors (N_i, 3), at any place and scale with
                ``normalize``. An empty cloud has white views.
            view: Index of the only view to render; None: all.
            distance: Distance of the camera in place of the projection's own.

        Returns:
            (B, V, H, W) float32 in [0, 1] on the device of the input: background 1, near is dark; V is 1 for one
            ``view``.

        Raises:
            TypeError: ``points`` is not a float tensor or a list of float tensors.
            ValueError: A cloud has another shape than (N, 3), or non-finite coordinates, or the backend does not
                support its device.
        """
        clouds = checked_clouds(points)
        views = self.views if view is None else self.views[view:][:1]
        if not views:
            raise ValueError(f'view must be one of 0 to {self.num_views - 1}, got {view}')
        if not clouds:
            return torch.ones(0, len(views), self.resolution, self.resolution,
                              device=points.device if isinstance(points, Tensor) else None)
        distance = self.distance if distance is None else number_between('distance', distance, 0, float('inf'))
        render = self._renderer(clouds[0].device)
        axes = camera_axes(views, self.yaw, clouds[0].device)
        depth_views = []
        for cloud in clouds:
            cloud = in_unit_ball(cloud) if self.normalize and len(cloud) else cloud.float()
            left, up, depth = (axes @ (cloud / distance).T).unbind(1)  # (V, N)
            depth_views.append(_gray_values(render(left, up, depth + distance, self.resolution, self.radius)))
        return torch.stack(depth_views)

    def _renderer(self, device: torch.device):
        if self.backend == 'numba' and device.type != 'cpu':
            raise ValueError(f"backend 'numba' needs CPU tensors, the points are on {device}; use 'auto' or 'torch'")
        return render_numba if device.type == 'cpu' and self.backend != 'torch' else render_torch

    def __repr__(self) -> str:
        arguments = ', '.join(f'{name}={value!r}' for name, value in vars(self).items())
        return f'{type(self).__name__}({arguments})'


def _checked_views(views) -> tuple[tuple[float, float], ...]:
    if isinstance(views, str):
        if views not in VIEWS:
            raise ValueError(f'views must be one of {tuple(VIEWS)} or pairs of azimuth and elevation, got {views!r}')
        return VIEWS[views]
    pairs = [tuple(float(angle) for angle in pair) for pair in views]
    if not pairs or any(len(pair) != 2 or not all(map(math.isfinite, pair)) for pair in pairs):
        raise ValueError(f'views must be at least one pair of azimuth and elevation in degrees, got {views!r}')
    return tuple((azimuth, elevation) for azimuth, elevation in pairs)


def camera_axes(views: Sequence[tuple[float, float]], yaw: float = 0., device: torch.device | str | None = None
                ) -> Tensor:
    """Compute the axes of cameras that look at the origin.

    Beyond 90 degrees of elevation a camera is upside down. At exactly 90 its roll is that of the released code, where
    the cosine of the rounded angle decides: positive at 270 degrees, negative at 90 and -90.

    Args:
        views: Azimuth and elevation of V cameras in degrees.
        yaw: Turn of the object about its vertical axis in degrees.
        device: Device of the axes.

    Returns:
        float32 (V, 3, 3): left, up and viewing direction of each camera, in coordinates with z up.
    """
    turn = math.radians(yaw)
    axes = []
    for azimuth, elevation in views:
        a, e = math.radians(azimuth), math.radians(elevation)
        rounded = float(torch.tensor(e, dtype=torch.float32))
        side = math.copysign(1., math.cos(rounded))
        forward = (-math.cos(e) * math.sin(a), -math.sin(e), -math.cos(e) * math.cos(a))  # y up
        left = (-side * math.cos(a), 0., side * math.sin(a))
        up = (forward[1] * left[2] - forward[2] * left[1], forward[2] * left[0] - forward[0] * left[2],
              forward[0] * left[1] - forward[1] * left[0])
        axes.append([left, up, forward])
    y_up = torch.tensor(axes, dtype=torch.float64)
    x, y, z = y_up.unbind(-1)
    # y up to z up, then the turn of the object as one of the cameras.
    x, y, z = x, -z, y
    x, y = math.cos(turn) * x + math.sin(turn) * y, -math.sin(turn) * x + math.cos(turn) * y
    return torch.stack((x, y, z), -1).to(device, torch.float32)


def _gray_values(depth: Tensor) -> Tensor:
    """Turn depths (V, H, W), infinite where empty, into gray values in [0, 1]."""
    empty = torch.isinf(depth)
    largest = torch.where(empty, torch.full_like(depth, -1.), depth).amax((1, 2), True)
    depth = torch.where(empty, torch.ones_like(depth), depth)
    smallest = depth.amin((1, 2), True)
    values = (depth - smallest) / largest.clamp(min=1e-12) * RANGE
    return torch.where(empty, torch.ones_like(depth), values.clamp(0, 1))


def render_torch(left: Tensor, up: Tensor, depth: Tensor, resolution: int, radius: float) -> Tensor:
    """Render discs with PyTorch, on any device.

    Args:
        left: Coordinate of each point towards the left border, which is at 1; float32 (V, N).
        up: Coordinate towards the upper border, which is at 1; float32 (V, N).
        depth: Distance along the viewing direction, float32 (V, N); points below 0 are not drawn.
        resolution: Height and width H = W in pixels.
        radius: Radius of a disc; pixels whose center is nearer than it are covered.

    Returns:
        (V, H, W) float32: smallest depth of the discs that cover a pixel, infinite where there is none.
    """
    reach = math.ceil(radius * resolution / 2) + 1
    first_row, first_column = (_pixel_of(axis, resolution) - reach for axis in (up, left))
    grid = depth.new_full((len(depth), resolution**2 + 1), float('inf'))
    for di in range(2 * reach + 1):
        row = first_row + di
        dy = _center_of(row, resolution) - up
        for dj in range(2 * reach + 1):
            column = first_column + dj
            dx = _center_of(column, resolution) - left
            drawn = ((dx * dx + dy * dy < radius * radius) & (depth >= 0) & (row >= 0) & (row < resolution)
                     & (column >= 0) & (column < resolution))
            pixel = torch.where(drawn, row * resolution + column, resolution**2).long()
            grid.scatter_reduce_(1, pixel, depth, 'amin')
    return grid[:, :-1].reshape(-1, resolution, resolution)


def _pixel_of(coordinate: Tensor, resolution: int) -> Tensor:
    """Return the row or column of points, float32; 1 is the first border, -1 the last."""
    return ((1 - coordinate) * (resolution / 2)).floor().clamp(-1e6, 1e6)


def _center_of(pixel: Tensor, resolution: int) -> Tensor:
    return (2 * (resolution - 1 - pixel) + 1) / resolution - 1


def render_numba(left: Tensor, up: Tensor, depth: Tensor, resolution: int, radius: float) -> Tensor:
    """Render discs on the CPU; arguments and result as for :func:`render_torch`."""
    rows, columns = (_pixel_of(axis, resolution).int().contiguous().numpy() for axis in (up, left))
    centers = _center_of(torch.arange(resolution, dtype=torch.float32), resolution)
    reach = math.ceil(radius * resolution / 2) + 1
    out = torch.full((len(depth), resolution, resolution), float('inf'))
    _draw(rows, columns, left.contiguous().numpy(), up.contiguous().numpy(), depth.contiguous().numpy(),
          centers.numpy(), reach, out.new_tensor(radius * radius).numpy()[()], out.numpy())
    return out


@compiled()
def _draw(rows, columns, left, up, depth, centers, reach, square, out):
    """Write the smallest depth of the discs over each pixel into ``out`` (V, H, W)."""
    resolution = out.shape[1]
    for view in range(out.shape[0]):
        for n in range(depth.shape[1]):
            if not depth[view, n] >= 0:
                continue
            first, last = max(rows[view, n] - reach, 0), min(rows[view, n] + reach + 1, resolution)
            for i in range(first, last):
                dy = centers[i] - up[view, n]
                for j in range(max(columns[view, n] - reach, 0), min(columns[view, n] + reach + 1, resolution)):
                    dx = centers[j] - left[view, n]
                    if dx * dx + dy * dy < square:
                        out[view, i, j] = min(out[view, i, j], depth[view, n])
