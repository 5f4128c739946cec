"""The contour-aware projection in PyTorch for GPUs: the pixels near a surface, all views and depths at once."""
import torch
import torch.nn.functional as F
from torch import Tensor

from .dense import densify, scatter_nearest, smoothing_weights
from .views import VoxelizedPoints

# Voxels filtered in one go: bounds the temporaries (about ten of this many floats) to well below 1 GB.
CHUNK_VOXELS = 1 << 24


def project_batched(voxels: VoxelizedPoints, resolution: int, depth_bins: int, densify_kernel: int, smooth_kernel: int,
                    sigma_space: float, sigma_intensity: float) -> Tensor:
    """All four steps for one cloud. Takes and returns what :func:`.dense.project_dense` does.

    The bilateral filter runs on columns that hold a surface or lie within its reach; all others stay white.
    """
    grid = densify(scatter_nearest(voxels, resolution, depth_bins), densify_kernel)  # (V, B, H, W)
    pad = smooth_kernel // 2
    occupied = grid.amax(1, keepdim=True)
    active = F.max_pool2d(occupied, smooth_kernel, stride=1, padding=pad).squeeze(1) > 0  # (V, H, W)

    # Columns as contiguous rows of depths, so that a neighbor is one row of a table.
    padded = F.pad(grid, (pad,) * 6).permute(0, 2, 3, 1).contiguous()
    views, height, width, depth = padded.shape
    table = padded.view(-1, depth)
    view, row, column = active.nonzero(as_tuple=True)
    center_index = (view * height + row + pad) * width + column + pad
    space = smoothing_weights(smooth_kernel, sigma_space, grid.device)
    precision = -.5 / sigma_intensity**2

    nearest = []
    for index in center_index.split(max(CHUNK_VOXELS // depth, 1)):
        center = table[index, pad:pad + depth_bins]
        total, norm = torch.zeros_like(center), torch.zeros_like(center)
        for i in range(smooth_kernel):
            for j in range(smooth_kernel):
                neighbors = table[index + (i - pad) * width + (j - pad)]
                for b in range(smooth_kernel):
                    value = neighbors[:, b:b + depth_bins]
                    weight = torch.exp((value - center).square_().mul_(precision)).mul_(space[b, i, j])
                    norm += weight
                    total.addcmul_(weight, value)
        nearest.append((total / norm).amax(1))
    depth_maps = torch.ones_like(active, dtype=grid.dtype)
    depth_maps[active] = 1 - torch.cat(nearest)
    return depth_maps
