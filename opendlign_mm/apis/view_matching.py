"""Poses of given depth views: which axis points up, from which azimuths in which order, and whether they are mirrored.

The images are compared as small crops by correlation, so that the constants of the projection hardly matter;
:mod:`.projection_search` finds these afterwards.
"""
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..projection import ContourAwareProjection

GRID_STEP = 15  # degrees between the azimuths that are tried
COARSE_ELEVATIONS = (-45., -15., 15., 45., 75.)
FINE_ELEVATIONS = tuple(np.arange(-80., 81., 10.))
CROP = 24  # pixels of a compared crop
POINTS = 1500  # of a cloud, for the small images
# Rows of the rotation that turns an axis of the file up (z). That of y is the one of shape_pose.z_up.
UP_ROTATIONS = {
    'z': ((1, 0, 0), (0, 1, 0), (0, 0, 1)), 'y': ((1, 0, 0), (0, 0, -1), (0, 1, 0)),
    'x': ((0, 1, 0), (0, 0, 1), (1, 0, 0)), '-z': ((1, 0, 0), (0, -1, 0), (0, 0, -1)),
    '-y': ((1, 0, 0), (0, 0, 1), (0, -1, 0)), '-x': ((0, 1, 0), (0, 0, -1), (-1, 0, 0)),
}


class Pose(NamedTuple):
    """How the objects stand in given depth views.

    Attributes:
        up: Axis of the points that points up in the views: a key of ``UP_ROTATIONS``.
        mirrored: Whether left and right are exchanged.
        elevation: Height of the cameras above the horizon in degrees.
        angles: Azimuth of each view in degrees, as :class:`ContourAwareProjection` counts them.
        regular: Whether the azimuths have equal steps.
        similarity: Mean correlation with views of the points in this pose, in [-1, 1].
    """
    up: str
    mirrored: bool
    elevation: float
    angles: tuple[float, ...]
    regular: bool
    similarity: float


def turned_up(points: Tensor, up: str) -> Tensor:
    """Return points (N, 3) rotated so that their axis ``up``, a key of ``UP_ROTATIONS``, is z."""
    return points @ points.new_tensor(UP_ROTATIONS[up]).T


def find_poses(clouds: Sequence[Tensor], views: Tensor) -> list[Pose]:
    """Find the most similar pose without mirroring and with it, the same for all objects.

    Args:
        clouds: Points of K objects, float (N_i, 3).
        views: Their depth views, float (K, V, H, W) in [0, 1], 1 is background.

    Returns:
        Two poses: not mirrored, and mirrored.

    Raises:
        ValueError: A view is white.
    """
    thinned = [cloud[torch.linspace(0, len(cloud) - 1, min(POINTS, len(cloud))).long()] for cloud in clouds]
    wanted = {mirrored: _crops(views.flip(-1) if mirrored else views) for mirrored in (False, True)}
    best: dict[bool, tuple[float, str]] = {}
    for up in UP_ROTATIONS:
        for elevation in COARSE_ELEVATIONS:
            ours = _crops_of_points([turned_up(cloud, up) for cloud in thinned], elevation)
            for mirrored, theirs in wanted.items():
                similarity = _similarities(theirs, ours).amax(-1).mean().item()
                best[mirrored] = max(best.get(mirrored, (-np.inf, up)), (similarity, up))
    return [_pose_with_up(thinned, wanted[mirrored], best[mirrored][1], mirrored) for mirrored in (False, True)]


def _pose_with_up(clouds: Sequence[Tensor], theirs: Tensor, up: str, mirrored: bool) -> Pose:
    turned = [turned_up(cloud, up) for cloud in clouds]
    tables = {elevation: _similarities(theirs, _crops_of_points(turned, elevation)) for elevation in FINE_ELEVATIONS}
    elevation = max(tables, key=lambda height: tables[height].amax(-1).mean().item())
    angles, regular = azimuths_of(tables[elevation].numpy())
    return Pose(up, mirrored, elevation, angles, regular, tables[elevation].amax(-1).mean().item())


def azimuths_of(similarities: np.ndarray) -> tuple[tuple[float, ...], bool]:
    """Return the azimuth of each view, in equal steps where such azimuths explain the views.

    They do if each view is as similar there as it is within one step of the grid around its own best azimuth.

    Args:
        similarities: Float (V, A), of each view with the azimuths 0, 360 / A, 2 * 360 / A, ...

    Returns:
        Azimuths in degrees, and whether their steps are equal.
    """
    count, tried = similarities.shape
    grid = 360 / tried
    own = similarities.argmax(1)
    if count == 1:
        return (float(own[0] * grid), ), True
    offsets, steps = np.meshgrid(np.arange(0, 360, 3.), np.arange(-177, 181, 3.), indexing='ij')
    sought = offsets[..., None] + steps[..., None] * np.arange(count)  # (offsets, steps, V)
    found = _interpolated(similarities, sought / grid)
    place = np.unravel_index(found.sum(-1).argmax(), offsets.shape)
    rows = np.arange(count)
    nearby = np.minimum(similarities[rows, (own + 1) % tried], similarities[rows, own - 1])
    if (found[place] >= nearby).all():
        return tuple(float(angle) for angle in sought[place]), True
    return tuple(float(angle) for angle in own * grid), False


def _interpolated(table: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Interpolate each row v of a periodic ``table`` (V, A) at ``places[..., v]``."""
    low = np.floor(places).astype(int)
    share, rows = places - low, np.arange(len(table))
    return table[rows, low % table.shape[1]] * (1 - share) + table[rows, (low + 1) % table.shape[1]] * share


def _crops_of_points(clouds: Sequence[Tensor], elevation: float) -> Tensor:
    projection = ContourAwareProjection(32, 16, 3, 1, view_angles=range(0, 360, GRID_STEP), elevation=elevation)
    return _crops(projection([cloud.float() for cloud in clouds]))


def _crops(views: Tensor) -> Tensor:
    """Return the nearness in the bounding box of each object, (K, V, CROP * CROP), with mean 0 and norm 1."""
    height, width = views.shape[-2:]
    nearness = 1 - views.flatten(0, 1)
    boxes = []
    for inside in nearness > 0:
        rows, columns = (inside.any(axis).nonzero()[:, 0].float() for axis in (1, 0))
        if not len(rows):
            raise ValueError('a depth view is white: nothing can be compared with it; leave its object out')
        ends = (rows[0], rows[-1] + 1, columns[0], columns[-1] + 1)
        side = max(ends[1] - ends[0], ends[3] - ends[2]) / 2
        boxes.append(torch.stack(((ends[2] + ends[3]) / width - 1, (ends[0] + ends[1]) / height - 1,
                                  2 * side / width, 2 * side / height)))
    x, y, wide, high = torch.stack(boxes).unbind(1)
    zero = torch.zeros_like(x)
    affine = torch.stack((torch.stack((wide, zero, x), 1), torch.stack((zero, high, y), 1)), 1)
    # Averages first: a large image must not be sampled at single pixels.
    factor = max(height // (2 * CROP), 1)
    small = F.avg_pool2d(nearness[:, None], factor, ceil_mode=True, count_include_pad=False)
    crops = F.grid_sample(small, F.affine_grid(affine, [len(small), 1, CROP, CROP], False), align_corners=False)
    crops = crops.flatten(1) - crops.flatten(1).mean(1, True)
    return F.normalize(crops, dim=1).unflatten(0, views.shape[:2])


def _similarities(theirs: Tensor, ours: Tensor) -> Tensor:
    """Return the correlation of the views (K, V, P) with those at A azimuths (K, A, P), mean over objects: (V, A)."""
    return torch.einsum('kvp,kap->va', theirs, ours) / len(theirs)
