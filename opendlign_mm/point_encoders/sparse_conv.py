"""Sparse 3D convolution with two interchangeable engines: plain torch, and spconv where it is installed."""
from functools import cached_property
from importlib.util import find_spec
from typing import Literal

import torch
from torch import Tensor, nn

from ..compat import let_spconv_differentiate_on_cpu
from .voxel_grid import VoxelGrid

Engine = Literal['auto', 'torch', 'spconv']


def select_engine(engine: Engine, device: torch.device) -> Literal['torch', 'spconv']:
    """Choose the engine of a convolution.

    Args:
        engine: 'torch' needs nothing else and runs everywhere; 'spconv' needs that package, in a build for the device;
            'auto' takes spconv for CUDA tensors where its CUDA build is installed, and torch otherwise.
        device: Device of the features.

    Raises:
        ImportError: 'spconv' is not installed, or its build cannot run on ``device``.
        ValueError: Another name.
    """
    if engine not in ('auto', 'torch', 'spconv'):
        raise ValueError(f"engine must be 'auto', 'torch' or 'spconv', got {engine!r}")
    if engine == 'torch' or engine == 'auto' and device.type != 'cuda':
        return 'torch'
    if find_spec('spconv') is None:
        if engine == 'auto':
            return 'torch'
        raise ImportError("engine='spconv' needs the package spconv (CPU) or spconv-cu124 (CUDA 12); engine='torch' "
                          'needs neither and gives the same')
    from spconv.cppconstants import CPU_ONLY_BUILD
    if device.type == 'cuda' and CPU_ONLY_BUILD:
        if engine == 'auto':
            return 'torch'
        raise ImportError('the installed spconv is a CPU build and the features are on a CUDA device; install a build '
                          "for CUDA, e.g. spconv-cu124, or set engine='torch'")
    return 'spconv'


class SparseConv3d(nn.Module):
    """Convolution over the occupied voxels of a grid, without bias.

    The output has the sites of the input (``stride=1``), or the parents of these (``stride=2``). The kernel is stored
    as MinkowskiEngine does: (K^3, in, out), x fastest; (in, out) for K = 1.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        kernel_size: K.
        stride: 1 or 2.
        engine: See :func:`select_engine`.
    """

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, stride: int = 1,
                 engine: Engine = 'auto') -> None:
        super().__init__()
        self.kernel_size, self.stride, self.engine = kernel_size, stride, engine
        shape = (in_channels, out_channels) if kernel_size == 1 else (kernel_size**3, in_channels, out_channels)
        self.kernel = nn.Parameter(torch.empty(shape))
        nn.init.normal_(self.kernel, std=(2 / (out_channels * kernel_size**3))**.5)  # Kaiming, fan out

    def forward(self, features: Tensor, grid: VoxelGrid) -> tuple[Tensor, VoxelGrid]:
        """Convolve features (M, in_channels) of the sites of ``grid``.

        Returns:
            Features (M', out_channels), and their grid.
        """
        if self.kernel_size == 1:
            return features @ self.kernel, grid
        outputs = grid if self.stride == 1 else grid.downsample(self.stride)[0]
        engine = select_engine(self.engine, features.device)
        convolve = self._by_spconv if engine == 'spconv' else self._by_torch
        return convolve(features, grid, outputs), outputs

    def _by_torch(self, features: Tensor, grid: VoxelGrid, outputs: VoxelGrid) -> Tensor:
        result = features.new_zeros(len(outputs.coordinates), self.kernel.shape[2])
        for (sources, targets), weight in zip(
                grid.kernel_map(outputs, self.kernel_size), self.kernel, strict=True):
            if len(sources):
                result = result.index_add_(0, targets, features[sources] @ weight)
        return result

    @cached_property
    def _spconv_layer(self) -> nn.Module:
        """Layer of spconv with the same settings, without a weight. As a cached property it is not a sub-module."""
        import spconv.pytorch as spconv
        size, channels = self.kernel_size, self.kernel.shape[1:]
        with torch.random.fork_rng(devices=[]):  # its own weight is drawn, and not used
            if self.stride == 1:
                layer = spconv.SubMConv3d(*channels, size, bias=False, indice_key=f'same{size}')
            else:
                layer = spconv.SparseConv3d(*channels, size, self.stride, padding=(size - 1) // 2, bias=False,
                                            indice_key=f'down{size}')
        del layer.weight
        return layer

    def _by_spconv(self, features: Tensor, grid: VoxelGrid, outputs: VoxelGrid) -> Tensor:
        import spconv.pytorch as spconv
        if features.device.type == 'cpu':
            let_spconv_differentiate_on_cpu()
        size, channels = self.kernel_size, self.kernel.shape[1:]
        indices, shape, origin, known = _spconv_sites(grid)
        sites = spconv.SparseConvTensor(features, indices, shape, grid.batch_size, indice_dict=known)
        layer = self._spconv_layer.to(features.device)
        # spconv's kernel is (out, x, y, z, in); as a plain tensor gradients flow to ours.
        layer.weight = self.kernel.view(size, size, size, *channels).permute(4, 2, 1, 0, 3).contiguous()
        try:
            result = layer(sites)
        finally:
            del layer.weight  # a tensor with a history could not be copied with the module
        if self.stride == 1:
            return result.features
        found = result.indices.long()
        coordinates = torch.cat([found[:, :1], (found[:, 1:] + origin // self.stride) * outputs.stride], dim=1)
        # With an odd kernel spconv also makes sites that are not the parent of any input: drop them.
        rows = outputs.find(coordinates)
        kept = rows >= 0
        empty = features.new_zeros(len(outputs.coordinates), channels[1])
        return empty.index_copy(0, rows[kept], result.features[kept])


def _spconv_sites(grid: VoxelGrid) -> tuple[Tensor, list[int], Tensor, dict]:
    """Return indices int32 (M, 4) from 0, the shape of the space, the origin in sites, and spconv's index cache."""
    if 'spconv' not in grid.cache:
        sites = grid.coordinates[:, 1:].div(grid.stride, rounding_mode='floor')
        # An even origin keeps the parents of strided convolutions where they are.
        origin = sites.amin(dim=0).div(16, rounding_mode='floor') * 16
        indices = torch.cat([grid.coordinates[:, :1], sites - origin], dim=1).int()
        shape = ((indices[:, 1:].amax(dim=0) + 2) // 2 * 2).tolist()
        grid.cache['spconv'] = indices, shape, origin, {}
    return grid.cache['spconv']
