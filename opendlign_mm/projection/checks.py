"""Checks of the input and the arguments of projections."""
import math
from collections.abc import Sequence

from torch import Tensor


def checked_clouds(points: Tensor | Sequence[Tensor]) -> list[Tensor]:
    """Return a batch of clouds as a list, after checking it.

    Args:
        points: (B, N, 3) float tensor, or a list of B float tensors (N_i, 3) on one device.

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
        bad = int((~cloud.isfinite().all(1)).sum())
        if bad:
            raise ValueError(f'cloud {index} has {bad} of {len(cloud)} points with NaN or infinite coordinates; '
                             'remove them before the projection')
    return [cloud.detach() for cloud in clouds]


def checked_angles(view_angles: Sequence[float]) -> tuple[float, ...]:
    """Return azimuths in degrees; raise ValueError if there are none or some are not finite."""
    angles = tuple(float(angle) for angle in view_angles)
    if not angles or not all(math.isfinite(angle) for angle in angles):
        raise ValueError(f'view_angles must be at least one azimuth in degrees, all finite, got {angles}')
    return angles


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
