"""Sparse grids of voxels: the sites of sparse convolutions, and which sites a kernel connects. Plain torch."""
from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

# Voxel coordinates must lie in [-2^17, 2^17) and clouds of a batch in [0, 2^9), so that a site is one int64 key.
COORDINATE_BITS = 18
OFFSET = 1 << (COORDINATE_BITS - 1)


@dataclass
class VoxelGrid:
    """Occupied voxels of a batch of clouds.

    Attributes:
        coordinates: int64 (M, 4): cloud of the batch, then x, y, z in voxels of stride 1, multiples of ``stride``;
            distinct, sorted by cloud, x, y, z.
        stride: Edge of a site in voxels of stride 1.
        batch_size: Clouds of the batch; each has at least one site.
        cache: Kernel maps and other values derived from the grid.
    """
    coordinates: Tensor
    stride: int
    batch_size: int
    cache: dict = field(default_factory=dict, repr=False)

    @classmethod
    def from_points(cls, points: list[Tensor], voxel_size: float) -> tuple[VoxelGrid, Tensor]:
        """Find the voxels that points occupy.

        Args:
            points: B tensors (N_i, 3), finite.
            voxel_size: Edge of a voxel in the unit of the points.

        Returns:
            The grid of stride 1, and int64 (sum of N_i), the site of each point.

        Raises:
            ValueError: A point lies too far from the origin.
        """
        xyz = torch.cat([(cloud.float() / voxel_size).floor() for cloud in points])
        if xyz.abs().max() >= OFFSET:
            raise ValueError(f'points must lie within {OFFSET * voxel_size:g} of the origin for voxels of '
                             f'{voxel_size:g}; center and scale the clouds to the unit ball')
        batch = torch.repeat_interleave(torch.tensor([len(cloud) for cloud in points])).to(xyz.device)
        coordinates = torch.cat([batch[:, None], xyz.long()], dim=1)
        return cls._of(coordinates, 1, len(points))

    @classmethod
    def _of(cls, coordinates: Tensor, stride: int, batch_size: int) -> tuple[VoxelGrid, Tensor]:
        keys, inverse = torch.unique(site_keys(coordinates), return_inverse=True)
        return cls(_coordinates_of(keys), stride, batch_size), inverse

    def downsample(self, factor: int) -> tuple[VoxelGrid, Tensor]:
        """Return the grid of ``factor`` times the stride, and int64 (M,), the parent of each site."""
        key = 'downsample', factor
        if key not in self.cache:
            stride = self.stride * factor
            parents = torch.cat([self.coordinates[:, :1], self.coordinates[:, 1:].div(
                stride, rounding_mode='floor') * stride], dim=1)
            self.cache[key] = VoxelGrid._of(parents, stride, self.batch_size)
        return self.cache[key]

    def find(self, coordinates: Tensor) -> Tensor:
        """Return the rows of sites (K, 4) in this grid, int64 (K,); -1 for sites that are not occupied."""
        if 'keys' not in self.cache:
            self.cache['keys'] = site_keys(self.coordinates)
        keys, wanted = self.cache['keys'], site_keys(coordinates)
        rows = torch.searchsorted(keys, wanted).clamp(max=len(keys) - 1)
        return rows.where(keys[rows] == wanted, -1)

    def kernel_map(self, outputs: VoxelGrid, kernel_size: int) -> list[tuple[Tensor, Tensor]]:
        """Find the pairs of sites that each element of a kernel connects.

        Args:
            outputs: The grid of the output, this one or a downsampled one.
            kernel_size: K. An odd kernel is centered on the output site, an even one begins at it.

        Returns:
            K^3 pairs of int64 rows, (inputs, outputs), in MinkowskiEngine's order: x runs fastest, then y, then z.
        """
        key = 'kernel', outputs.stride, kernel_size
        if key not in self.cache:
            first = -(kernel_size // 2) if kernel_size % 2 else 0
            steps = range(first, first + kernel_size)
            pairs = []
            for z in steps:
                for y in steps:
                    for x in steps:
                        offset = outputs.coordinates.new_tensor([0, x, y, z]) * self.stride
                        rows = self.find(outputs.coordinates + offset)
                        found = (rows >= 0).nonzero()[:, 0]
                        pairs.append((rows[found], found))
            self.cache[key] = pairs
        return self.cache[key]


def site_keys(coordinates: Tensor) -> Tensor:
    """Pack sites (K, 4) into int64 keys (K,) that sort as the sites do."""
    batch, x, y, z = coordinates.unbind(dim=1)
    keys = batch
    for values in (x, y, z):
        keys = (keys << COORDINATE_BITS) | (values + OFFSET)
    return keys


def _coordinates_of(keys: Tensor) -> Tensor:
    mask = (1 << COORDINATE_BITS) - 1
    columns = [keys >> 3 * COORDINATE_BITS]
    columns += [((keys >> shift * COORDINATE_BITS) & mask) - OFFSET for shift in (2, 1, 0)]
    return torch.stack(columns, dim=1)


def mean_by_site(values: Tensor, sites: Tensor, num_sites: int) -> Tensor:
    """Average the rows of ``values`` (N, C) that belong to each site (int64 (N,)): (num_sites, C)."""
    sums = values.new_zeros(num_sites, values.shape[1]).index_add(0, sites, values)
    return sums / torch.bincount(sites, minlength=num_sites).clamp(min=1)[:, None]
