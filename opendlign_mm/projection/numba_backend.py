"""The contour-aware projection on the CPU: touches only voxels near a point and runs views in parallel threads.

The result is that of :func:`.torch_backends.project_dense` within 2/255. Four things save the time:

* Densifying is done point by point: each point raises the neighborhood of its voxel. Depth is the innermost axis, so
  that these writes are short contiguous runs.
* The final squeeze needs only the largest filtered value of each column (pixel). In a column with a surface that value
  lies in the run of the column's nearest value, so only that run is filtered. Columns without a surface but next to one
  (a fringe of ``smooth_kernel // 2`` pixels) are filtered as deep as their neighborhood has surfaces.
* In both all voxels of a column that are filtered have one value. The intensity weight of a neighbor is then the same
  for each of them, so it is computed once, and the spatial weights are applied across first and along the depth last.
* The weights of 16 depths are computed at once, see :mod:`.lanes`.
"""
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from queue import Empty, SimpleQueue

import numba as nb
import numpy as np
import torch
from torch import Tensor

from ..compiled import compiled
from .lanes import LANES, SQUARINGS, add_weighted, raise_lanes
from .views import VoxelizedPoints, smoothing_weights

# Up to this intensity sigma the filter tells a nearer surface from those behind it, so that the nearest run holds the
# largest filtered value. With a wider sigma all depths of a column are filtered.
PRUNING_LIMIT = .15


def project_numba(views: Sequence[Callable[[], VoxelizedPoints]], resolution: int, depth_bins: int,
                  densify_kernel: int, smooth_kernel: int, sigma_space: float, sigma_intensity: float) -> Tensor:
    """Project views of any clouds on the CPU, side by side in threads.

    Args:
        views: Functions that return the voxels of one view each; they are called in the threads.
        resolution: See :func:`.torch_backends.project_dense`, as the other arguments.
        depth_bins: See there.
        densify_kernel: See there.
        smooth_kernel: See there.
        sigma_space: See there.
        sigma_intensity: See there.

    Returns:
        float32 (number of views, H, W) in [0, 1], near is dark.
    """
    reach, pad = densify_kernel // 2, smooth_kernel // 2
    space = smoothing_weights(smooth_kernel, sigma_space, 'cpu').numpy()
    across, along = space[pad].ravel().copy(), space[pad, pad].copy()  # their product is the weight of a voxel
    precision = np.float32(.5 / sigma_intensity**2 / 2**SQUARINGS)
    places = (resolution + 2 * pad)**2 * (depth_bins + 2 * pad) + 2 * LANES
    grids: SimpleQueue[np.ndarray] = SimpleQueue()  # one for each thread, made when it is first needed
    out = np.ones((len(views), resolution, resolution), dtype=np.float32)

    def project_view(number: int) -> None:
        voxels = views[number]()
        row, column, depth_bin = (getattr(voxels, name)[0].numpy().astype(np.int32)
                                  for name in ('row', 'column', 'depth_bin'))
        try:
            grid = grids.get_nowait()
        except Empty:
            grid = np.zeros(places, np.float32)
        _project_view(row, column, depth_bin, voxels.nearness[0].contiguous().numpy(), depth_bins, reach, pad, across,
                      along, precision, sigma_intensity > PRUNING_LIMIT, grid, out[number])
        grids.put(grid)

    # Python threads around kernels that release the GIL. Numba's own OpenMP threads would kill a process that forks
    # later, as data loaders do, and spin where cores are shared. In data loader workers PyTorch allows one thread.
    threads = min(torch.get_num_threads(), len(views))
    if threads <= 1:
        for number in range(len(views)):
            project_view(number)
    else:
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(project_view, range(len(views))))
    return torch.from_numpy(out)


@compiled()
def _project_view(row, column, depth_bin, nearness, depth_bins, reach, pad, across, along, precision, exhaustive, grid,
                  out):
    """Write one view into ``out`` (H, W), which is white (1) at the start: all four steps of the projection.

    ``grid`` holds the padded voxels (H, W, B), flat and with 32 more places; they are zero before and after.
    """
    height, width = out.shape[0] + 2 * pad, out.shape[1] + 2 * pad
    depth = depth_bins + 2 * pad
    top = np.full((height, width), -1, dtype=np.int32)  # highest occupied depth of each column, -1 for none
    _splat(row, column, depth_bin, nearness, reach, pad, depth_bins, grid, top)
    last = _dilated(top, pad)

    centers = np.zeros(LANES, dtype=np.float32)
    length = (depth // LANES + 2) * LANES
    norms, totals = np.empty(length, dtype=np.float32), np.empty(length, dtype=np.float32)
    for i in range(pad, height - pad):
        for j in range(pad, width - pad):
            if last[i, j] < 0:
                continue
            if exhaustive:
                best = _filter_all(grid, top, i, j, depth, min(last[i, j] + pad + 1, depth - pad), pad, across, along,
                                   precision, norms, totals)
            else:
                nearest = top[i, j]
                if nearest >= 0:
                    first, end = max(nearest - 2 * reach, pad), nearest + 1
                else:  # filtered values are positive up to ``pad`` depths beyond the neighborhood's nearest surface
                    first, end = pad, min(last[i, j] + pad + 1, depth - pad)
                centers[:] = grid[(i * width + j) * depth + end - 1]
                best = _filter_run(grid, top, i, j, depth, first, end, pad, across, along, precision, centers, norms,
                                   totals)
            out[i - pad, j - pad] = nb.float32(1) - best
    for i in range(height):
        for j in range(width):
            if top[i, j] >= 0:
                base = (i * width + j) * depth
                grid[base:base + top[i, j] + 1] = 0


@compiled()
def _splat(row, column, depth_bin, nearness, reach, pad, depth_bins, grid, top):
    """Raise the neighborhood of each point's voxel in the padded ``grid`` to its value: steps 1 and 2; fill ``top``."""
    height, width = top.shape
    depth = depth_bins + 2 * pad
    for n in range(row.shape[0]):
        k_low, k_high = max(depth_bin[n] - reach, 0) + pad, min(depth_bin[n] + reach + 1, depth_bins) + pad
        j_low, j_high = max(column[n] - reach, 0) + pad, min(column[n] + reach + 1, width - 2 * pad) + pad
        for i in range(max(row[n] - reach, 0) + pad, min(row[n] + reach + 1, height - 2 * pad) + pad):
            for j in range(j_low, j_high):
                top[i, j] = max(top[i, j], k_high - 1)
                for k in range(k_low, k_high, LANES):
                    raise_lanes(grid, (i * width + j) * depth + k, nearness[n], k_high - k)


@compiled()
def _dilated(top, pad):
    """Return the largest of the (2 pad + 1)^2 numbers around each inner place of ``top``, and -1 at the edge."""
    height, width = top.shape
    rows, square = np.full_like(top, -1), np.full_like(top, -1)
    for i in range(height):
        for dj in range(2 * pad + 1):
            for j in range(pad, width - pad):
                rows[i, j] = max(rows[i, j], top[i, j - pad + dj])
    for i in range(pad, height - pad):
        for di in range(2 * pad + 1):
            for j in range(pad, width - pad):
                square[i, j] = max(square[i, j], rows[i - pad + di, j])
    return square


@compiled(fastmath=True, error_model='numpy')
def _filter_run(grid, top, i, j, depth, first, end, pad, across, along, precision, centers, norms, totals):
    """Return the largest filtered value (step 3) of column (i, j) at depths ``first`` .. ``end`` - 1.

    Only depths that have the value of ``centers``, 16 equal numbers, are filtered.
    """
    width = top.shape[1]
    begin, count = first - pad, end - first + 2 * pad
    norms[:count + LANES] = 0
    totals[:count + LANES] = 0
    empty = nb.float32(0)
    n = 0
    for di in range(-pad, pad + 1):
        for dj in range(-pad, pad + 1):
            if top[i + di, j + dj] < begin:
                empty += across[n]
            else:
                start = ((i + di) * width + j + dj) * depth + begin
                for k in range(0, count, LANES):
                    add_weighted(grid, start + k, centers, 0, across[n], precision, norms, totals, k)
            n += 1
    center = centers[0]
    x = min(center * center * precision, nb.float32(1))
    empty *= (nb.float32(1) - x + nb.float32(.5) * x * x)**2**SQUARINGS
    best = nb.float32(0)
    own = (i * width + j) * depth + first
    for k in range(end - first):
        if grid[own + k] == center:
            norm, total = nb.float32(0), nb.float32(0)
            for b in range(2 * pad + 1):
                norm += along[b] * (norms[k + b] + empty)
                total += along[b] * totals[k + b]
            best = max(best, total / norm)
    return best


@compiled(fastmath=True, error_model='numpy')
def _filter_all(grid, top, i, j, depth, end, pad, across, along, precision, norms, totals):
    """Return the largest filtered value (step 3) of column (i, j) at depths ``pad`` .. ``end`` - 1."""
    width = top.shape[1]
    own = (i * width + j) * depth
    best = nb.float32(0)
    for k in range(pad, end, LANES):
        norms[:LANES] = 0
        totals[:LANES] = 0
        n = 0
        for di in range(-pad, pad + 1):
            for dj in range(-pad, pad + 1):
                start = ((i + di) * width + j + dj) * depth + k - pad
                for b in range(2 * pad + 1):
                    add_weighted(grid, start + b, grid, own + k, across[n] * along[b], precision, norms, totals, 0)
                n += 1
        for lane in range(min(LANES, end - k)):
            best = max(best, totals[lane] / norms[lane])
    return best
