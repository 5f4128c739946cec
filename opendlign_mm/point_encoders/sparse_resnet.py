"""Sparse convolutional ResNet, the SparseConv encoder of OpenShape and TAMM (MinkResNet34)."""
import itertools
from collections.abc import Sequence
from typing import cast

import torch
from mmdet3d.registry import MODELS
from mmengine.model import BaseModule
from torch import Tensor, nn

from .inputs import Clouds, as_clouds
from .sparse_conv import Engine, SparseConv3d
from .voxel_grid import VoxelGrid, mean_by_site


@MODELS.register_module()
class SparseResNet(BaseModule):
    """Encoder of whole colored clouds into the feature space of a CLIP (OpenShape, Liu et al., NeurIPS 2023).

    Voxels of the points; four stages of residual blocks at strides 2, 4, 8 and 16; the features of all stages are
    copied back to the points and averaged in voxels of stride 1; two strided convolutions; maximum and mean over the
    cloud; an MLP. OpenShape trains on centered clouds in the unit ball, z up, with 10,000 points.

    Args:
        voxel_size: Edge of a voxel in the unit of the points.
        out_channels: Size D of the embedding; None leaves out the MLP after ``head_channels`` (TAMM's adapters follow).
        stage_channels: Channels of the four stages.
        stage_blocks: Residual blocks of the four stages.
        joint_channels: Channels of the two convolutions over all stages.
        head_channels: Channels of the layers of the MLP before the last.
        missing_color: Gray value of points without colors.
        engine: Engine of the convolutions: 'torch', 'spconv', or 'auto' (see :func:`select_engine`).
        init_cfg: See mmengine.
    """

    def __init__(self, voxel_size: float = .02, out_channels: int | None = 1280,
                 stage_channels: Sequence[int] = (32, 64, 128, 256), stage_blocks: Sequence[int] = (3, 4, 6, 3),
                 joint_channels: Sequence[int] = (512, 1024), head_channels: Sequence[int] = (1024, 1024),
                 missing_color: float = .4, engine: Engine = 'auto', init_cfg: dict | None = None) -> None:
        super().__init__(init_cfg)
        self.voxel_size, self.missing_color = voxel_size, missing_color
        stem = stage_channels[0]
        self.stem = ConvNorm(6, stem, 5, 1, nn.ReLU(inplace=True), engine)
        self.downsamplings, self.stages = nn.ModuleList(), nn.ModuleList()
        before = stem
        for channels, blocks in zip(stage_channels, stage_blocks, strict=True):
            self.downsamplings.append(ConvNorm(before, before, 2, 2, nn.ReLU(inplace=True), engine))
            self.stages.append(nn.ModuleList(
                ResidualBlock(before if index == 0 else channels, channels, engine) for index in range(blocks)))
            before = channels
        widths = (sum(stage_channels), *joint_channels)
        self.joint = nn.ModuleList(ConvNorm(inner, outer, 3, 2, nn.LeakyReLU(.01, inplace=True), engine)
                                   for inner, outer in itertools.pairwise(widths))
        self.head = _head(2 * joint_channels[-1], head_channels, out_channels)
        self.out_channels = out_channels or (head_channels or [2 * joint_channels[-1]])[-1]

    def forward(self, points: Clouds, colors: Clouds | None = None) -> Tensor:
        """Encode a batch of clouds.

        Args:
            points: Float (B, N, 3), or B tensors (N_i, 3).
            colors: Float in [0, 1] of the same shapes; None for ``missing_color``.

        Returns:
            Float32 (B, D), not normalized.
        """
        clouds = as_clouds(points, colors, self.missing_color)
        grid, site_of_point = VoxelGrid.from_points([cloud[:, :3] for cloud in clouds], self.voxel_size)
        features = mean_by_site(torch.cat(clouds), site_of_point, len(grid.coordinates))
        features, joint_grid = self._multi_scale(features, grid, site_of_point)
        for layer in self.joint:
            features, joint_grid = layer(features, joint_grid)
        return self.head(_pool(features, joint_grid))

    def _multi_scale(self, features: Tensor, grid: VoxelGrid, site_of_point: Tensor) -> tuple[Tensor, VoxelGrid]:
        """Run the stages and bring their features together in the voxels of stride 1."""
        finest = grid
        features, grid = self.stem(features, grid)
        parents = site_of_point
        of_points = []
        for downsampling, blocks in zip(self.downsamplings, self.stages, strict=True):
            parents = grid.downsample(2)[1][parents]
            features, grid = downsampling(features, grid)
            for block in cast(nn.ModuleList, blocks):
                features = block(features, grid)
            of_points.append(features[parents])
        return mean_by_site(torch.cat(of_points, dim=1), site_of_point, len(finest.coordinates)), finest


class ConvNorm(nn.Module):
    """Sparse convolution, batch norm over the sites, and an activation.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        kernel_size: Edge of the kernel in sites.
        stride: 1 or 2.
        activation: Last layer; None for none.
        engine: See :func:`select_engine`.
    """

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, stride: int,
                 activation: nn.Module | None, engine: Engine) -> None:
        super().__init__()
        self.conv = SparseConv3d(in_channels, out_channels, kernel_size, stride, engine)
        self.norm = nn.BatchNorm1d(out_channels)
        self.activation = nn.Identity() if activation is None else activation

    def forward(self, features: Tensor, grid: VoxelGrid) -> tuple[Tensor, VoxelGrid]:
        """Return the features (M', out_channels) and their grid."""
        features, grid = self.conv(features, grid)
        return self.activation(self.norm(features)), grid


class ResidualBlock(nn.Module):
    """Two convolutions of 3 x 3 x 3 with a shortcut, which is projected where the width changes.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        engine: See :func:`select_engine`.
    """

    def __init__(self, in_channels: int, out_channels: int, engine: Engine) -> None:
        super().__init__()
        self.first = ConvNorm(in_channels, out_channels, 3, 1, nn.ReLU(inplace=True), engine)
        self.second = ConvNorm(out_channels, out_channels, 3, 1, None, engine)
        self.shortcut = None if in_channels == out_channels else ConvNorm(in_channels, out_channels, 1, 1, None, engine)

    def forward(self, features: Tensor, grid: VoxelGrid) -> Tensor:
        """Return the features (M, out_channels) of the same sites."""
        shortcut = features if self.shortcut is None else self.shortcut(features, grid)[0]
        features, _ = self.second(*self.first(features, grid))
        return torch.relu(features + shortcut)


def _head(in_channels: int, channels: Sequence[int], out_channels: int | None) -> nn.Sequential:
    """Return an MLP of linear layers without bias, norms and leaky ReLUs, dropout after the first, and a last layer."""
    layers: list[nn.Module] = []
    for index, width in enumerate(channels):
        layers += [nn.Linear(in_channels, width, bias=False), nn.BatchNorm1d(width), nn.LeakyReLU(.01, inplace=True)]
        if index == 0 and out_channels is not None:
            layers.append(nn.Dropout(.5))
        in_channels = width
    if out_channels is not None:
        layers.append(nn.Linear(in_channels, out_channels))
    return nn.Sequential(*layers)


def _pool(features: Tensor, grid: VoxelGrid) -> Tensor:
    """Return the maximum and the mean over the sites of each cloud, (B, 2 * C)."""
    clouds = grid.coordinates[:, 0]
    index = clouds[:, None].expand_as(features)
    largest = features.new_zeros(grid.batch_size, features.shape[1]).scatter_reduce(
        0, index, features, 'amax', include_self=False)
    return torch.cat([largest, mean_by_site(features, clouds, grid.batch_size)], dim=1)
