"""Steps 1-4 of the contour-aware projection on the full voxel grid: the readable reference of the other backends."""
import torch
import torch.nn.functional as F
from torch import Tensor

from .views import VoxelizedPoints


def scatter_nearest(voxels: VoxelizedPoints, resolution: int, depth_bins: int) -> Tensor:
    """Put every point's nearness into its voxel, the nearest point winning (step 1).

    Returns:
        (V, B, H, W) float32, 0 where empty.
    """
    views = voxels.row.shape[0]
    index = (voxels.depth_bin * resolution + voxels.row) * resolution + voxels.column
    grid = voxels.nearness.new_zeros(views, depth_bins * resolution * resolution)
    grid.scatter_reduce_(1, index, voxels.nearness, 'amax')
    return grid.view(views, depth_bins, resolution, resolution)


def densify(grid: Tensor, kernel: int) -> Tensor:
    """Maximum over the ``kernel``^3 neighborhood of every voxel (step 2). ``grid`` is (V, B, H, W), >= 0."""
    return F.max_pool3d(grid.unsqueeze(1), kernel, stride=1, padding=kernel // 2).squeeze(1)


def smoothing_weights(kernel: int, sigma_space: float, device) -> Tensor:
    """Spatial weights exp(-|offset|^2 / (2 sigma^2)) of the bilateral filter, (kernel, kernel, kernel)."""
    offset = torch.arange(kernel, dtype=torch.float32, device=device) - kernel // 2
    along = torch.exp(-offset**2 / (2 * sigma_space**2))
    return along[:, None, None] * along[None, :, None] * along[None, None, :]


def smooth(grid: Tensor, kernel: int, sigma_space: float, sigma_intensity: float) -> Tensor:
    """Bilateral filter over ``kernel``^3 voxels (step 3; paper, eq. 1). Voxels outside the grid count as empty (0)."""
    views, bins, height, width = grid.shape
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
    """Nearest surface along the depth axis, near = dark on white (step 4). (V, B, H, W) -> (V, H, W) in [0, 1]."""
    return 1 - grid.amax(1)


def project_dense(voxels: VoxelizedPoints, resolution: int, depth_bins: int, densify_kernel: int, smooth_kernel: int,
                  sigma_space: float, sigma_intensity: float) -> Tensor:
    """All four steps for one cloud, view by view to bound the memory. Returns (V, H, W) float32 in [0, 1]."""
    depth_maps = []
    for view in range(voxels.row.shape[0]):
        one = VoxelizedPoints(*(field[view:view + 1] for field in
                                (voxels.row, voxels.column, voxels.depth_bin, voxels.nearness)))
        grid = densify(scatter_nearest(one, resolution, depth_bins), densify_kernel)
        depth_maps.append(squeeze(smooth(grid, smooth_kernel, sigma_space, sigma_intensity)))
    return torch.cat(depth_maps)
