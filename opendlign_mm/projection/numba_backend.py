"""The contour-aware projection on the CPU: touches only voxels near a point and runs views in parallel threads.

The result is that of :func:`.torch_backends.project_dense` within 2/255. Three things save the time:

* Densifying is done point by point: each point raises the neighborhood of its voxel. Depth is the innermost axis, so
  that these writes are short contiguous runs.
* The final squeeze needs only the largest filtered value of each column (pixel). In a column with a surface that value
  lies in the run of the column's nearest value, so only that run is filtered, in blocks of ``LANES`` depths. Columns
  without a surface but next to one (a fringe of ``smooth_kernel // 2`` pixels) are filtered along the whole depth.
* The intensity weight exp(-t) is computed as (1 - t / 1024)^1024: ten multiplications, which the compiler vectorizes,
  while a call of ``exp`` would not be.
"""
from concurrent.futures import ThreadPoolExecutor

import numba as nb
import numpy as np
import torch
from torch import Tensor

from ..compiled import compiled
from .views import VoxelizedPoints, smoothing_weights

# Depths filtered at once; at least the default densify kernel, so that a nearest run takes one block.
LANES = 8
# Up to this intensity sigma the filter tells a nearer surface from those behind it, so that the nearest run holds the
# largest filtered value. With a wider sigma all depths of a column are filtered.
PRUNING_LIMIT = .15


def project_numba(voxels: VoxelizedPoints, resolution: int, depth_bins: int, densify_kernel: int, smooth_kernel: int,
                  sigma_space: float, sigma_intensity: float) -> Tensor:
    """Project one cloud on the CPU; arguments and result as for :func:`.torch_backends.project_dense`."""
    row, column, depth_bin = (getattr(voxels, name).numpy().astype(np.int32)
                              for name in ('row', 'column', 'depth_bin'))
    nearness = voxels.nearness.contiguous().numpy()
    space = smoothing_weights(smooth_kernel, sigma_space, 'cpu').numpy()  # symmetric: any axis may be the depth
    stride = -(-smooth_kernel**2 // 16) * 16  # whole SIMD registers; the surplus taps have weight 0
    weights = np.zeros((smooth_kernel, stride), dtype=np.float32)
    weights[:, :smooth_kernel**2] = space.reshape(smooth_kernel, -1)
    out = np.ones((row.shape[0], resolution, resolution), dtype=np.float32)
    precision = np.float32(.5 / sigma_intensity**2 / 1024)

    def project_view(view: int) -> None:
        _project_view(row[view], column[view],
                      depth_bin[view], nearness[view], depth_bins, densify_kernel // 2, smooth_kernel // 2,
                      weights.ravel(), stride, precision, sigma_intensity > PRUNING_LIMIT, out[view])

    # Python threads around kernels that release the GIL. Numba's own OpenMP threads would kill a process that forks
    # later, as data loaders do, and spin where cores are shared. In data loader workers PyTorch allows one thread.
    threads = min(torch.get_num_threads(), len(row))
    if threads == 1:
        for view in range(len(row)):
            project_view(view)
    else:
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(project_view, range(len(row))))
    return torch.from_numpy(out)


@compiled()
def _project_view(row, column, depth_bin, nearness, depth_bins, reach, pad, weights, stride, precision, exhaustive,
                  out):
    """Write one view into ``out`` (H, W), which is white (1) at the start: all four steps of the projection."""
    height, width = out.shape
    grid = np.zeros((height + 2 * pad, width + 2 * pad, depth_bins + 2 * pad), dtype=np.float32)
    _splat(row, column, depth_bin, nearness, reach, grid, pad)
    near = np.zeros((LANES + 2 * pad, stride), dtype=np.float32)
    k_end = depth_bins + pad

    # Highest occupied depth of each column, -1 for none.
    top = np.full((height + 2 * pad, width + 2 * pad), -1, dtype=np.int32)
    i_low, i_high = max(row.min() - reach, 0), min(row.max() + reach + 1, height)
    j_low, j_high = max(column.min() - reach, 0), min(column.max() + reach + 1, width)
    for i in range(i_low + pad, i_high + pad):
        for j in range(j_low + pad, j_high + pad):
            for k in range(k_end - 1, pad - 1, -1):
                if grid[i, j, k] > 0:
                    top[i, j] = k
                    break

    run = 2 * reach + 1
    for i in range(max(i_low - pad, 0) + pad, min(i_high + pad, height) + pad):
        for j in range(max(j_low - pad, 0) + pad, min(j_high + pad, width) + pad):
            best = nb.float32(0)
            if top[i, j] >= 0 and not exhaustive:
                first = max(top[i, j] + 1 - (run + LANES - 1) // LANES * LANES, pad)
                for k in range(first, top[i, j] + 1, LANES):
                    best = max(best, _filter_block(grid, i, j, k, top[i, j] + 1, pad, weights, precision, near))
            else:
                # Filtered values are positive up to ``pad`` depths beyond the nearest surface of the neighborhood.
                last = -1
                for di in range(-pad, pad + 1):
                    for dj in range(-pad, pad + 1):
                        last = max(last, top[i + di, j + dj])
                if last < 0:
                    continue
                for k in range(pad, min(last + pad + 1, k_end), LANES):
                    best = max(best, _filter_block(grid, i, j, k, min(last + pad + 1, k_end), pad, weights,
                                                   precision, near))
            out[i - pad, j - pad] = nb.float32(1) - best


@compiled()
def _splat(row, column, depth_bin, nearness, reach, grid, pad):
    """Raise the neighborhood of each point's voxel in the padded ``grid`` (H, W, B) to its value: steps 1 and 2."""
    height, width, depth = grid.shape[0] - 2 * pad, grid.shape[1] - 2 * pad, grid.shape[2] - 2 * pad
    for n in range(row.shape[0]):
        value = nearness[n]
        k_low, k_high = max(depth_bin[n] - reach, 0) + pad, min(depth_bin[n] + reach + 1, depth) + pad
        for i in range(max(row[n] - reach, 0) + pad, min(row[n] + reach + 1, height) + pad):
            for j in range(max(column[n] - reach, 0) + pad, min(column[n] + reach + 1, width) + pad):
                for k in range(k_low, k_high):
                    grid[i, j, k] = max(grid[i, j, k], value)


@compiled(fastmath=True, error_model='numpy')
def _filter_block(grid, i, j, k0, k_end, pad, weights, precision, near):
    """Return the largest filtered value (step 3) of column (i, j) at depths k0 .. min(k0 + LANES, k_end) - 1.

    ``near`` (LANES + 2 pad, S) is scratch memory, depth outermost and the column's neighbors innermost, so that the
    taps of a voxel are contiguous, in the order of ``weights``.
    """
    lanes = min(LANES, k_end - k0)
    n = 0
    nearest = nb.float32(0)
    for di in range(-pad, pad + 1):
        for dj in range(-pad, pad + 1):
            for k in range(lanes + 2 * pad):
                value = grid[i + di, j + dj, k0 - pad + k]
                near[k, n] = value
                nearest = max(nearest, value)
            n += 1
    if nearest == 0:
        return nb.float32(0)
    flat = near.ravel()
    stride, taps = near.shape[1], weights.shape[0]
    best = nb.float32(0)
    for lane in range(lanes):
        center = grid[i, j, k0 + lane]
        window = flat[lane * stride:lane * stride + taps]
        total, norm = nb.float32(0), nb.float32(0)
        for tap in range(taps):
            value = window[tap]
            difference = value - center
            w = max(nb.float32(1) - difference * difference * precision, nb.float32(0))
            w *= w
            w *= w
            w *= w
            w *= w
            w *= w
            w *= w
            w *= w
            w *= w
            w *= w
            w *= w
            w *= weights[tap]
            total += w * value
            norm += w
        best = max(best, total / norm)
    return best
