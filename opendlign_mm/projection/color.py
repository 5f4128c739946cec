"""Color views: what the cameras of the depth views see of points with colors."""
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..compiled import compiled
from .contour_aware import ContourAwareProjection
from .views import checked_clouds, number_between, view_axes, voxelize

# A pixel takes the smallest key of its points: squared distance to the pixel, then distance from the camera, then
# color, 24 bits each for the last two. So the result depends neither on the order of the points nor on the backend.
DEPTH_STEPS = (1 << 24) - 1
EMPTY = torch.iinfo(torch.int64).max


class ColorProjection:
    """Project point clouds with colors to color views, by the cameras of a contour-aware projection.

    A point covers as many pixels as in the depth views (``densify_kernel``), which fills small gaps between points.
    In each pixel the nearest surface wins, and of its points the one whose center is closest to the pixel, so that
    colors are not blurred. The background is white, as in the depth views.

    Args:
        projection: The projection of the depth views, or its arguments; None: the one with the defaults.
        surface_depth: Depth of a surface in units of the longest side of the object: points of a pixel that are no
            farther behind the nearest one are on its surface; in [0, 1].

    Raises:
        ValueError: ``projection`` is of another kind, or ``surface_depth`` is outside its range.
    """

    def __init__(self, projection: dict | ContourAwareProjection | None = None, surface_depth: float = .02) -> None:
        if isinstance(projection, dict) or projection is None:
            arguments = dict(projection or {})
            kind = arguments.pop('type', 'ContourAwareProjection')
            if kind != 'ContourAwareProjection':
                raise ValueError(f'color views have the cameras of a ContourAwareProjection, not of a {kind}')
            projection = ContourAwareProjection(**arguments)
        if not isinstance(projection, ContourAwareProjection):
            raise ValueError('color views have the cameras of a ContourAwareProjection, not of a '
                             f'{type(projection).__name__}')
        self.projection = projection
        self.surface_depth = number_between('surface_depth', surface_depth, 0, 1, include_low=True, include_high=True)

    def __call__(self, points: Tensor | list[Tensor], colors: Tensor | list[Tensor]) -> Tensor:
        """Project a batch of clouds.

        Args:
            points: (B, N, 3) float tensor, z up, or a list of B tensors (N_i, 3), at any place and scale. An empty
                cloud has white views.
            colors: RGB of each point, of the same shapes, see :func:`color_bytes`.

        Returns:
            (B, V, 3, H, W) uint8 on the device of the points: RGB on a white background.

        Raises:
            TypeError: ``points`` or ``colors`` is of another kind.
            ValueError: A cloud has another shape than (N, 3), non-finite coordinates or another number of colors, or
                colors are outside their range.
        """
        clouds, size = checked_clouds(points), self.projection.resolution
        if len(colors) != len(clouds):
            raise ValueError(f'there are {len(clouds)} clouds, but the colors of {len(colors)}')
        if not clouds:
            device = points.device if isinstance(points, Tensor) else None
            return torch.full((0, self.projection.num_views, 3, size, size), 255, dtype=torch.uint8, device=device)
        return torch.stack([self._project(cloud, color_bytes(color, len(cloud)).to(cloud.device))
                            for cloud, color in zip(clouds, colors, strict=True)])

    def _project(self, cloud: Tensor, colors: Tensor) -> Tensor:
        camera = self.projection
        views, size = camera.num_views, camera.resolution
        if not len(cloud):
            return torch.full((views, 3, size, size), 255, dtype=torch.uint8, device=cloud.device)
        axes = view_axes(camera.view_angles, camera.elevation, cloud.device)
        voxels = voxelize(cloud, axes, size, camera.depth_bins, camera.object_ratio, camera.depth_bias)
        near = (voxels.nearness.clamp(0, 1) * DEPTH_STEPS).long()
        packed = (colors.long() * colors.new_tensor([1 << 16, 1 << 8, 1], dtype=torch.int64)).sum(1)
        tolerance = round(self.surface_depth / (1 + camera.depth_bias) * DEPTH_STEPS)
        paint = _paint_numba if camera.backend_for(cloud.device) == 'numba' else _paint_torch
        keys = paint(voxels.row, voxels.column, near, packed, size, camera.densify_kernel // 2, tolerance)
        packed = torch.where(keys == EMPTY, (1 << 24) - 1, keys & ((1 << 24) - 1))
        return torch.stack([packed >> 16, packed >> 8 & 255, packed & 255], dim=1).to(torch.uint8)

    def __repr__(self) -> str:
        return f'{type(self).__name__}(projection={self.projection!r}, surface_depth={self.surface_depth})'


def color_bytes(colors: Tensor | np.ndarray, count: int) -> Tensor:
    """Return the colors of points as bytes.

    Args:
        colors: (N, 3) RGB: uint8; floats in [0, 1]; or, as mmdet3d loads scans, floats that are whole numbers from 0
            to 255. Floats that are all 0 or 1 count as in [0, 1].
        count: Number N of points.

    Returns:
        uint8 (N, 3).

    Raises:
        ValueError: There is another number of colors, or they are outside these ranges.
    """
    colors = torch.as_tensor(colors)
    if colors.ndim != 2 or colors.shape != (count, 3):
        raise ValueError(f'colors must have shape ({count}, 3), one RGB for each point, got {tuple(colors.shape)}')
    if colors.dtype == torch.uint8:
        return colors
    if not colors.is_floating_point():
        raise ValueError(f'colors must be uint8 or floats in [0, 1], got {colors.dtype}')
    colors = colors.float()
    low, high = (float(colors.amin()), float(colors.amax())) if count else (0., 0.)
    if 0 <= low and high <= 1:
        return (colors * 255).round().byte()
    if not (0 <= low and high <= 255 and torch.equal(colors, colors.round())):  # NaN is in no interval
        raise ValueError('colors must be uint8, floats in [0, 1], or floats that are whole numbers from 0 to 255, got '
                         f'{int((~colors.isfinite()).sum())} that are not finite and others from '
                         f'{colors.nan_to_num(0).min():g} to {colors.nan_to_num(0).max():g}; scale them')
    return colors.byte()


def _paint_torch(row: Tensor, column: Tensor, near: Tensor, color: Tensor, size: int, reach: int, tolerance: int
                 ) -> Tensor:
    """Paint all views of one cloud.

    Args:
        row: Image row of each point, int64 (V, N).
        column: Image column, int64 (V, N).
        near: Nearness to the camera in steps, int64 (V, N).
        color: Packed colors, int64 (N,).
        size: Height and width of the image.
        reach: Pixels that a point covers on each side of its own.
        tolerance: Steps behind the nearest point that are still on its surface.

    Returns:
        Keys, int64 (V, H, W); :data:`EMPTY` where no point is seen.
    """
    front = near.new_full((len(row), size * size), -1).scatter_reduce_(1, row * size + column, near, 'amax')
    # In float64: float32 holds 24 bits, and max_pool2d takes no integers.
    front = F.max_pool2d(front.view(-1, 1, size, size).double(), 2 * reach + 1, stride=1, padding=reach).long()
    front = front.view(len(row), size * size)
    keys = near.new_full((len(row), size * size), EMPTY)
    own = (DEPTH_STEPS - near) << 24 | color
    for i in range(-reach, reach + 1):
        for j in range(-reach, reach + 1):
            target_row, target_column = row + i, column + j
            inside = (target_row >= 0) & (target_row < size) & (target_column >= 0) & (target_column < size)
            target = torch.where(inside, target_row * size + target_column, 0)
            seen = inside & (near >= front.gather(1, target) - tolerance)
            keys.scatter_reduce_(1, target, torch.where(seen, (i * i + j * j) << 48 | own, EMPTY), 'amin')
    return keys.view(-1, size, size)


def _paint_numba(row: Tensor, column: Tensor, near: Tensor, color: Tensor, size: int, reach: int, tolerance: int
                 ) -> Tensor:
    """Paint all views of one cloud on the CPU; arguments and result as for :func:`_paint_torch`."""
    arrays = [values.contiguous().numpy() for values in (row, column, near)]
    packed, keys = color.contiguous().numpy(), np.full((len(row), size, size), EMPTY, dtype=np.int64)

    def paint(view: int) -> None:
        _paint_view(*(values[view] for values in arrays), packed, reach, tolerance, keys[view])

    # Python threads, as in project_numba.
    with ThreadPoolExecutor(min(torch.get_num_threads(), len(row))) as pool:
        list(pool.map(paint, range(len(row))))
    return torch.from_numpy(keys)


@compiled()
def _paint_view(row, column, near, color, reach, tolerance, keys):
    height, width = keys.shape
    front = np.full((height, width), -1, dtype=np.int64)
    for n in range(row.shape[0]):
        for i in range(max(row[n] - reach, 0), min(row[n] + reach + 1, height)):
            for j in range(max(column[n] - reach, 0), min(column[n] + reach + 1, width)):
                front[i, j] = max(front[i, j], near[n])
    for n in range(row.shape[0]):
        own = (DEPTH_STEPS - near[n]) << 24 | color[n]
        for i in range(max(row[n] - reach, 0), min(row[n] + reach + 1, height)):
            for j in range(max(column[n] - reach, 0), min(column[n] + reach + 1, width)):
                if near[n] >= front[i, j] - tolerance:
                    distance = (i - row[n]) * (i - row[n]) + (j - column[n]) * (j - column[n])
                    keys[i, j] = min(keys[i, j], distance << 48 | own)
