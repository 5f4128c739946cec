"""The contour-aware projection on GPUs: batches of clouds, sparse columns of voxels, kernels in Triton.

The result is that of :func:`.torch_backends.project_dense` within 2/255. As in :mod:`.numba_backend` only voxels near a
point are kept and only those that can be the nearest surface are filtered. What differs:

* Clouds of a batch are padded by repeating their first point, which changes no view, and quantized together.
* Only columns (pixels) that a point can reach get memory: ``slots`` has the number of each, and each is one row of
  depths. A full grid of ten views of 224 pixels and 64 depths would take 128 MB a cloud.
* The host waits for the device once a batch, for the number of columns, and learns with it whether all points were
  finite.
"""
from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from .numba_backend import PRUNING_LIMIT
from .views import VoxelizedPoints

# Pixels, and points in views, of the clouds that are projected at once; bounds the memory to about 2 GB. Half as many
# are a fifth slower on an H100, twice as many 6 % faster.
BATCH_PIXELS = 1 << 23
# Voxels of one program of the kernel that dilates.
BLOCK_VOXELS = 1024


def project_triton(clouds: Sequence[Tensor], voxelize: Callable[[Tensor], VoxelizedPoints],
                   check_finite: Callable[[], None], num_views: int, resolution: int, depth_bins: int,
                   densify_kernel: int, smooth_kernel: int, sigma_space: float, sigma_intensity: float
                   ) -> Iterator[Tensor]:
    """Project clouds on a GPU.

    Args:
        clouds: Float tensors (N, 3), N >= 1, on one device.
        voxelize: Function from clouds (C, N, 3) to the voxels that they hit, each (C, V, N).
        check_finite: Function that raises ValueError if coordinates are not finite; it is called if some are not.
        num_views: Number V of views.
        resolution: See :func:`.torch_backends.project_dense`, as the other arguments.
        depth_bins: See there.
        densify_kernel: See there.
        smooth_kernel: See there.
        sigma_space: See there.
        sigma_intensity: See there.

    Yields:
        Depth views of each cloud, float32 (V, H, W) in [0, 1] but for rounding, near is dark.

    Raises:
        ValueError: A cloud has non-finite coordinates.
    """
    reach, pad = densify_kernel // 2, smooth_kernel // 2
    for batch in batches(clouds, num_views, resolution):
        points = padded(batch)
        voxels = VoxelizedPoints(*(field.flatten(0, 1) for field in vars(voxelize(points)).values()))
        near, order = columns_near(voxels, resolution, reach + pad)
        count, finite = torch.stack((order[-1], points.isfinite().all().int())).tolist()
        if not finite:
            check_finite()
        with torch.cuda.device_of(points):  # Triton starts kernels on the current device
            columns = filled_columns(voxels, near, order, count, depth_bins)
            columns = _densified(columns, reach, resolution)
            views = _filtered(columns, reach, pad, sigma_space, sigma_intensity, near.shape)
        yield from views.view(len(batch), num_views, resolution, resolution)


def batches(clouds: Sequence[Tensor], num_views: int, resolution: int) -> Iterator[list[Tensor]]:
    """Split clouds into batches of one dtype that need about the same memory, in their order."""
    for _, group in groupby(clouds, key=lambda cloud: cloud.dtype):
        same = list(group)
        longest = max(map(len, same))
        number = max(BATCH_PIXELS // (num_views * max(resolution**2, longest)), 1)
        for first in range(0, len(same), number):
            yield same[first:first + number]


def padded(clouds: Sequence[Tensor]) -> Tensor:
    """Stack clouds (N_i, 3), N_i >= 1, to (C, N, 3); shorter ones repeat their first point."""
    longest = max(map(len, clouds))
    return torch.stack([cloud if len(cloud) == longest else
                        torch.cat((cloud, cloud[:1].expand(longest - len(cloud), 3))) for cloud in clouds])


class Columns(NamedTuple):
    """Columns of voxels, the rows of depths behind pixels.

    Attributes:
        values: Values of the voxels, float32 (count, B), 0 where empty.
        tops: Nearest depth with a surface, -1 for none, int32 (count,).
        slots: Number of the column of each pixel plus 1, 0 for none, int32 (images * H * W,).
        pixels: Pixel of each column, int64 (count,).
    """
    values: Tensor
    tops: Tensor
    slots: Tensor
    pixels: Tensor


def columns_near(voxels: VoxelizedPoints, resolution: int, distance: int) -> tuple[Tensor, Tensor]:
    """Find the pixels that points change: those within ``distance`` of the pixel of one, in both directions.

    Returns:
        Whether a pixel is one of them, bool (images, H, W), and the number of them up to and including each pixel,
        int32 (images * H * W,).
    """
    pixel = voxels.row * resolution + voxels.column
    hit = torch.zeros(len(pixel), resolution**2, device=pixel.device).scatter_(1, pixel, 1.)
    hit = hit.view(-1, 1, resolution, resolution)
    side = 2 * distance + 1
    hit = F.max_pool2d(hit, (side, 1), stride=1, padding=(distance, 0))
    near = F.max_pool2d(hit, (1, side), stride=1, padding=(0, distance)).squeeze(1) > 0
    return near, near.flatten().cumsum(0, dtype=torch.int32)


def filled_columns(voxels: VoxelizedPoints, near: Tensor, order: Tensor, count: int, depth_bins: int) -> Columns:
    """Write each point's nearness into the column of its pixel; the nearest point of a voxel wins (step 1).

    Args:
        voxels: Voxels that the points hit, each (images, N).
        near: Result of :func:`columns_near`, as ``order``.
        order: See there.
        count: Last number of ``order``.
        depth_bins: Depths B of a column.
    """
    device, images = near.device, torch.arange(len(near), device=near.device)
    slots = torch.where(near.flatten(), order, 0)
    pixels = torch.empty(count + 1, dtype=torch.int64, device=device)
    pixels.scatter_(0, slots.long(), torch.arange(len(slots), device=device))  # place 0 takes all others
    pixel = (images[:, None] * near.shape[1] + voxels.row) * near.shape[2] + voxels.column
    voxel = (slots[pixel].long() - 1) * depth_bins + voxels.depth_bin
    values = torch.zeros(count, depth_bins, device=device)
    # Floats >= 0 are ordered as their bits are, and the maximum of integers is one instruction on a GPU, however many
    # points are in one place. That of floats is a loop.
    values.view(torch.int32).view(-1).scatter_reduce_(
        0, voxel.flatten(), voxels.nearness.contiguous().view(torch.int32).flatten(), 'amax')
    return Columns(values, torch.empty(count, dtype=torch.int32, device=device), slots, pixels[1:])


def _densified(columns: Columns, reach: int, resolution: int) -> Columns:
    """Take the maximum over the cube around each voxel, axis by axis, and find the nearest surfaces (step 2)."""
    from .triton_kernels import ACROSS, ALONG, DOWN, dilate
    count, depth = columns.values.shape
    lanes = power_of_two(depth)
    block = max(BLOCK_VOXELS // lanes, 1)
    source, target = columns.values, torch.empty_like(columns.values)
    for axis in (ACROSS, DOWN, ALONG):
        dilate[(-(-count // block), )](source, target, columns.tops, columns.slots, columns.pixels, count, resolution,
                                       depth, reach, axis, block, lanes)
        source, target = target, source
    return columns._replace(values=source)


def _filtered(columns: Columns, reach: int, pad: int, sigma_space: float, sigma_intensity: float,
              shape: Sequence[int]) -> Tensor:
    """Filter the columns and keep the nearest surface of each (steps 3 and 4): depth views (images, H, W)."""
    from .triton_kernels import NEIGHBORS, filter_all, filter_runs
    views = torch.ones(*shape, device=columns.values.device)
    kernel = filter_all if sigma_intensity > PRUNING_LIMIT else filter_runs
    count, depth = columns.values.shape
    kernel[(count, )](columns.values, columns.tops, columns.slots, columns.pixels, views, .5 / sigma_space**2,
                      .5 / sigma_intensity**2, shape[-1], depth, reach, pad, NEIGHBORS,
                      max(8, power_of_two(4 * pad)), num_warps=1)
    return views


def power_of_two(number: int) -> int:
    """Return the least power of two that is at least ``number``, and at least 1."""
    return 1 << max(number - 1, 0).bit_length()
