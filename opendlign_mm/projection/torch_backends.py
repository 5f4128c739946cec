"""The contour-aware projection in PyTorch: a readable reference on the full voxel grid, and a faster one for GPUs."""
import torch
import torch.nn.functional as F
from torch import Tensor

from .views import VoxelizedPoints, smoothing_weights

# Voxels that project_batched filters at once: bounds its temporaries (about ten of this many floats) below 1 GB.
CHUNK_VOXELS = 1 << 24


def project_dense(voxels: VoxelizedPoints, resolution: int, depth_bins: int, densify_kernel: int, smooth_kernel: int,
                  sigma_space: float, sigma_intensity: float) -> Tensor:
    """Project one cloud, one view at a time to bound the memory.

    Args:
        voxels: Voxels that the points of the cloud hit.
        resolution: Height H and width W of the grid.
        depth_bins: Depth B of the grid.
        densify_kernel: Odd side of the cube over which a voxel takes the maximum.
        smooth_kernel: Odd side of the bilateral filter's cube.
        sigma_space: Spatial sigma of the bilateral filter in voxels.
        sigma_intensity: Intensity sigma of the bilateral filter.

    Returns:
        (V, H, W) float32 in [0, 1], near is dark, on the device of ``voxels``.
    """
    depth_maps = []
    for view in range(voxels.row.shape[0]):
        one = VoxelizedPoints(*(field[view:view + 1] for field in
                                (voxels.row, voxels.column, voxels.depth_bin, voxels.nearness)))
        grid = densify(scatter_nearest(one, resolution, depth_bins), densify_kernel)
        depth_maps.append(squeeze(smooth(grid, smooth_kernel, sigma_space, sigma_intensity)))
    return torch.cat(depth_maps)


def scatter_nearest(voxels: VoxelizedPoints, resolution: int, depth_bins: int) -> Tensor:
    """Write each point's nearness into its voxel; the nearest point of a voxel wins (step 1).

    Returns:
        (V, B, H, W) float32, 0 where empty.
    """
    views = voxels.row.shape[0]
    index = (voxels.depth_bin * resolution + voxels.row) * resolution + voxels.column
    grid = voxels.nearness.new_zeros(views, depth_bins * resolution * resolution)
    grid.scatter_reduce_(1, index, voxels.nearness, 'amax')
    return grid.view(views, depth_bins, resolution, resolution)


def densify(grid: Tensor, kernel: int) -> Tensor:
    """Take the maximum over the ``kernel``^3 neighborhood of each voxel of ``grid`` (V, B, H, W), >= 0 (step 2)."""
    return F.max_pool3d(grid.unsqueeze(1), kernel, stride=1, padding=kernel // 2).squeeze(1)


def smooth(grid: Tensor, kernel: int, sigma_space: float, sigma_intensity: float) -> Tensor:
    """Filter ``grid`` (V, B, H, W) bilaterally over ``kernel``^3 voxels (step 3; OpenDlign, equation 1).

    Voxels outside the grid count as empty (0).
    """
    _, bins, height, width = grid.shape
    pad = kernel // 2
    padded = F.pad(grid, (pad,) * 6)
    space = smoothing_weights(kernel, sigma_space, grid.device)
    total, norm = torch.zeros_like(grid), torch.zeros_like(grid)
    for b in range(kernel):
        for i in range(kernel):
            for j in range(kernel):
                neighbor = padded[:, b:b + bins, i:i + height, j:j + width]
                weight = torch.exp((neighbor - grid).square() * (-.5 / sigma_intensity**2)) * space[b, i, j]
                norm += weight
                total += weight * neighbor
    return total / norm


def squeeze(grid: Tensor) -> Tensor:
    """Reduce (V, B, H, W) to the nearest surface along the depth axis: (V, H, W), near = dark on white (step 4)."""
    return 1 - grid.amax(1)


def project_batched(voxels: VoxelizedPoints, resolution: int, depth_bins: int, densify_kernel: int, smooth_kernel: int,
                    sigma_space: float, sigma_intensity: float) -> Tensor:
    """Project one cloud, all views and depths at once; arguments and result as for :func:`project_dense`.

    The bilateral filter runs only on columns (pixels) that hold a surface or lie within its reach; all others stay
    white.
    """
    grid = densify(scatter_nearest(voxels, resolution, depth_bins), densify_kernel)  # (V, B, H, W)
    pad = smooth_kernel // 2
    occupied = grid.amax(1, keepdim=True)
    active = F.max_pool2d(occupied, smooth_kernel, stride=1, padding=pad).squeeze(1) > 0  # (V, H, W)

    # Columns as contiguous rows of depths, so that a neighbor is one row of a table.
    padded = F.pad(grid, (pad,) * 6).permute(0, 2, 3, 1).contiguous()
    _, height, width, depth = padded.shape
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
