"""Geometry of the depth views: checks of clouds and angles, camera axes, voxels that are hit, smoothing weights."""
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

# Distance from the origin, in units of half the size of a cloud, up to which float32 keeps it to 1e-5 of its size.
FAR = 200
# Half sizes whose squares are far from overflow and underflow in float32.
NORMAL_SIZES = (1e-15, 1e15)


def view_axes(angles: Sequence[float], elevation: float | Sequence[float], device: torch.device | str | None,
              dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor, Tensor]:
    """Compute the right, up and toward-the-viewer axes of cameras that circle the vertical (z) axis.

    A camera at angle 0 stands on the -y side and looks along +y; with growing angle it moves counter-clockwise as seen
    from above. ``elevation`` lifts it above the horizon; it keeps looking at the object.

    Args:
        angles: Azimuth of each of V views in degrees.
        elevation: Height of the camera above the horizon in degrees, of all views or of each. Beyond 90 the camera
            looks from the other side, upside down.
        device: Device of the axes.
        dtype: Floating point type of the axes.

    Returns:
        Three (V, 3) tensors, orthonormal in each view.
    """
    azimuth = torch.deg2rad(torch.as_tensor(list(angles), dtype=torch.float64))
    lift = torch.deg2rad(torch.as_tensor(elevation, dtype=torch.float64)).expand_as(azimuth)
    zero = torch.zeros_like(azimuth)
    right = torch.stack((azimuth.cos(), azimuth.sin(), zero), -1)
    up = torch.stack((-azimuth.sin() * lift.sin(), azimuth.cos() * lift.sin(), lift.cos()), -1)
    toward = torch.stack((azimuth.sin() * lift.cos(), -azimuth.cos() * lift.cos(), lift.sin()), -1)
    return tuple(axis.to(device, dtype, non_blocking=True) for axis in (right, up, toward))  # type: ignore[return-value]


def normalized_if_needed(points: Tensor) -> Tensor:
    """Return a cloud as float32, centered and divided by its size where float32 would lose its shape otherwise.

    float32 has 24 bits. A cloud in map coordinates, a million meters from the origin, would be rounded to 6 cm, and
    numbers beyond 1e38 would become infinite. Views do not depend on position and scale, so such clouds are normalized
    in the precision in which they are given. All others keep their coordinates.

    Args:
        points: (..., N, 3) float, clouds of N >= 1 points each, finite.

    Returns:
        (..., N, 3) float32.
    """
    if points.dtype not in (torch.float32, torch.float64):
        points = points.float()
    # Without a condition on the host, which would wait for a GPU. Halves first: a difference could overflow.
    low, high = points.amin(-2, True), points.amax(-2, True)
    half_size = (high / 2 - low / 2).amax(-1, True)
    reach = torch.maximum(low.abs(), high.abs()).amax(-1, True)
    kept = (reach <= FAR * half_size) & (half_size > NORMAL_SIZES[0]) & (half_size < NORMAL_SIZES[1])
    size = torch.where(half_size > 0, half_size, torch.ones_like(half_size))
    return torch.where(kept, points.float(), ((points - (low / 2 + high / 2)) / size).float())


def in_unit_ball(points: Tensor) -> Tensor:
    """Return a cloud (N, 3), N >= 1, as float32 with its mean at the origin and its farthest point at distance 1.

    The compared systems prepare their clouds so. It is computed in float64, so clouds may be far from the origin and of
    any size. Points that all coincide are put at the origin.
    """
    points = points.double()
    low, high = points.amin(0), points.amax(0)
    points = points - (low / 2 + high / 2)  # first, as the sum of large numbers could overflow
    size = points.abs().amax()
    points = points / torch.where(size > 0, size, torch.ones_like(size))
    points = points - points.mean(0)
    reach = points.norm(dim=1).amax()
    return (points / torch.where(reach > 0, reach, torch.ones_like(reach))).float()


class PointsInViews(NamedTuple):
    """The points of clouds (..., N, 3) along the axes of V views, and their extent.

    Attributes:
        coordinates: Coordinates along the right, up and toward axes, three (..., V, N).
        low: Smallest coordinate on each axis, three (..., V, 1).
        high: Largest coordinate on each axis, three (..., V, 1).
        unit: Longest side of the cloud in each view, (..., V, 1), > 0; 1 where all points coincide.
    """
    coordinates: list[Tensor]
    low: list[Tensor]
    high: list[Tensor]
    unit: Tensor


def points_in_views(points: Tensor, axes: tuple[Tensor, Tensor, Tensor]) -> PointsInViews:
    """Transform clouds (..., N, 3), N >= 1, to the camera axes of :func:`view_axes`, in the precision of the axes."""
    points = points.to(axes[0].dtype)
    x, y, z = (points[..., i].unsqueeze(-2) for i in range(3))  # (..., 1, N)
    coordinates = [x * axis[:, 0:1] + y * axis[:, 1:2] + z * axis[:, 2:3] for axis in axes]
    low, high = [c.amin(-1, True) for c in coordinates], [c.amax(-1, True) for c in coordinates]
    u, v, t = (upper - lower for lower, upper in zip(low, high, strict=True))
    longest = torch.maximum(torch.maximum(u, v), t)
    # A single point has no extent: any positive unit puts it in the middle.
    return PointsInViews(coordinates, low, high, torch.where(longest > 0, longest, torch.ones_like(longest)))


@dataclass(frozen=True)
class VoxelizedPoints:
    """Voxels that the points of a cloud (N, 3) hit in V views; of clouds (C, N, 3) all are (C, V, N).

    Attributes:
        row: Image row of each point, 0 at the top, int64 (V, N).
        column: Image column, 0 at the left, int64 (V, N).
        depth_bin: Bin along the viewing direction, larger is nearer, int64 (V, N).
        nearness: Value of the voxel, float32 (V, N) in [bias / (1 + bias), 1], larger is nearer.
    """
    row: Tensor
    column: Tensor
    depth_bin: Tensor
    nearness: Tensor


def voxelize(points: Tensor, axes: tuple[Tensor, Tensor, Tensor], resolution: int, depth_bins: int,
             object_ratio: float, depth_bias: float) -> VoxelizedPoints:
    """Quantize a cloud, or each of several, in every view (step 1 of the contour-aware projection).

    The cloud's bounding box *in the view* is centered and its longest side is scaled to ``object_ratio`` of the frame,
    so the result does not depend on position, scale, point order or duplicates, and rotating the object about z equals
    rotating the camera. Along the viewing direction the nearest point has nearness 1; the unit is again the longest
    side, so a flat object stays flat.

    Args:
        points: (N, 3) or (C, N, 3) float, N >= 1, finite, z up, at any place and scale.
        axes: Result of :func:`view_axes`.
        resolution: Height and width of the image in pixels.
        depth_bins: Number of bins along the viewing direction.
        object_ratio: Share of the frame that the longest side fills, in (0, 1].
        depth_bias: Offset of the depth values: nearness z in [0, 1] is stored as (z + depth_bias) / (1 + depth_bias).
    """
    (u, v, t), (u_low, v_low, _), (u_high, v_high, t_high), unit = points_in_views(normalized_if_needed(points), axes)
    span = object_ratio * (resolution - 1)
    middle = .5 * (resolution - 1)
    column = torch.floor(((u - u_low) - .5 * (u_high - u_low)) / unit * span + middle + .5)
    row = torch.floor(middle - ((v - v_low) - .5 * (v_high - v_low)) / unit * span + .5)
    depth = 1 - (t_high - t) / unit  # 1 = nearest, in [0, 1]
    depth_bin = torch.floor(depth * (depth_bins - 1) + .5)
    nearness = (depth + depth_bias) / (1 + depth_bias)
    return VoxelizedPoints(row.long().clamp_(0, resolution - 1), column.long().clamp_(0, resolution - 1),
                           depth_bin.long().clamp_(0, depth_bins - 1), nearness)


def smoothing_weights(kernel: int, sigma_space: float, device: torch.device | str) -> Tensor:
    """Return the spatial weights exp(-|offset|^2 / (2 sigma^2)) of the bilateral filter, (kernel, kernel, kernel)."""
    offset = torch.arange(kernel, dtype=torch.float32, device=device) - kernel // 2
    along = torch.exp(-offset**2 / (2 * sigma_space**2))
    return along[:, None, None] * along[None, :, None] * along[None, None, :]


# --- checks of input and arguments ------------------------------------------------------------------------------------

def checked_clouds(points: Tensor | Sequence[Tensor], finite: bool = True) -> list[Tensor]:
    """Return a batch of clouds as a list, after checking it.

    Args:
        points: (B, N, 3) float tensor, or a list of B float tensors (N_i, 3) on one device.
        finite: Whether to check that coordinates are finite, for which a GPU has to finish.

    Raises:
        TypeError: ``points`` is not a float tensor or a list of float tensors.
        ValueError: A cloud has another shape than (N, 3), or non-finite coordinates, which the message counts; or the
            clouds are on several devices.
    """
    if isinstance(points, Tensor):
        if points.dim() != 3 or points.shape[-1] != 3:
            raise ValueError(f'points must have shape (B, N, 3), got {tuple(points.shape)}; '
                             'use points[None, :, :3] for one cloud')
        clouds = list(points)
    elif isinstance(points, (list, tuple)) and all(isinstance(cloud, Tensor) for cloud in points):
        clouds = list(points)
    else:
        raise TypeError(f'points must be a (B, N, 3) tensor or a list of (N_i, 3) tensors, got {type(points).__name__}')
    for index, cloud in enumerate(clouds):
        if cloud.dim() != 2 or cloud.shape[1] != 3:
            raise ValueError(f'cloud {index} must have shape (N, 3), got {tuple(cloud.shape)}')
        if not cloud.is_floating_point():
            raise TypeError(f'cloud {index} must be a float tensor, got {cloud.dtype}')
        if cloud.device != clouds[0].device:
            raise ValueError(f'cloud {index} is on {cloud.device}, cloud 0 on {clouds[0].device}; move them to one '
                             'device')
    if finite:
        check_finite(clouds)
    return [cloud.detach() for cloud in clouds]


def check_finite(clouds: Sequence[Tensor]) -> None:
    """Raise ValueError that counts the points of the first of some clouds (N_i, 3) with non-finite coordinates."""
    if not clouds or bool(torch.stack([cloud.isfinite().all() for cloud in clouds]).all()):  # a GPU waits once for all
        return
    for index, cloud in enumerate(clouds):
        bad = int((~cloud.isfinite().all(1)).sum())
        if bad:
            raise ValueError(f'cloud {index} has {bad} of {len(cloud)} points with NaN or infinite coordinates; '
                             'remove them before the projection')


def checked_angles(view_angles: Sequence[float]) -> tuple[float, ...]:
    """Return azimuths in degrees; raise ValueError if there are none or some are not finite."""
    angles = tuple(float(angle) for angle in view_angles)
    if not angles or not all(math.isfinite(angle) for angle in angles):
        raise ValueError(f'view_angles must be at least one azimuth in degrees, all finite, got {angles}')
    return angles


def checked_elevation(elevation: float | Sequence[float], num_views: int) -> float | tuple[float, ...]:
    """Return the elevation of all views, or that of each, in degrees.

    Raises:
        ValueError: One is outside (-90, 90), or there is another number of them than of views.
    """
    if not isinstance(elevation, Sequence):
        return number_between('elevation', elevation, -90, 90)
    if len(elevation) != num_views:
        raise ValueError(f'elevation must be one number or one for each of the {num_views} view_angles, got '
                         f'{len(elevation)}')
    return tuple(number_between('elevation', value, -90, 90) for value in elevation)


def whole_number(name: str, value: int, low: int) -> int:
    """Return ``value`` as an integer; raise ValueError if it is not a whole number >= ``low``."""
    if not math.isfinite(value) or int(value) != value or value < low:
        raise ValueError(f'{name} must be a whole number >= {low}, got {value}')
    return int(value)


def odd_number(name: str, value: int) -> int:
    """Return ``value`` as an integer; raise ValueError if it is not an odd number >= 1."""
    if whole_number(name, value, 1) % 2 == 0:
        raise ValueError(f'{name} must be odd, got {value}')
    return int(value)


def number_between(name: str, value: float, low: float, high: float, include_low: bool = False,
                   include_high: bool = False) -> float:
    """Return ``value``; raise ValueError if it is not a number in the interval from ``low`` to ``high``."""
    if not (low < value < high or include_low and value == low or include_high and value == high):
        interval = f'{"[" if include_low else "("}{low}, {high}{"]" if include_high else ")"}'
        raise ValueError(f'{name} must lie in {interval}, got {value}')
    return float(value)
