"""Set abstraction of PointNet++ (Qi et al., NeurIPS 2017): furthest points, their neighborhoods, a shared MLP."""
import itertools
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ...point_ops import ball_query, furthest_point_sample, gather_points, group_points
from .inference import folded_layers, is_inference, pool_distinct


class SetAbstraction(nn.Module):
    """Furthest points, the points around them, a network applied to every point, and the maximum.

    Args:
        num_points: M, number of centers; sets with fewer points repeat some.
        radius: Radius of the neighborhoods in meters; offsets from the center are divided by it.
        num_samples: S, largest number of points of a neighborhood.
        channels: Widths of the layers of the network.
        in_channels: C, number of input features in addition to the offsets.
        skip_near_origin: See :func:`furthest_point_sample`; published weights were trained with it.
    """

    def __init__(self,
                 num_points: int,
                 radius: float,
                 num_samples: int,
                 channels: Sequence[int],
                 in_channels: int = 0,
                 skip_near_origin: bool = True) -> None:
        super().__init__()
        self.num_points, self.radius, self.num_samples = num_points, radius, num_samples
        self.skip_near_origin = skip_near_origin
        self.out_channels = channels[-1]
        self.mlp = pointwise_mlp([3 + in_channels, *channels], dims=2)

    def group(self, xyz: Tensor, features: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return centers (B, M, 3) and their neighborhoods (B, 3 + C, M, S): offsets first, then features."""
        centers, indices = self._neighborhoods(xyz)
        groups = (group_points(xyz, indices) - centers[:, :, None]) / self.radius
        if features is not None:
            groups = torch.cat([groups, group_points(features, indices)], dim=-1)
        return centers, groups.permute(0, 3, 1, 2)

    def _neighborhoods(self, xyz: Tensor) -> tuple[Tensor, Tensor]:
        """Return centers (B, M, 3) and the indices (B, M, S) of the points around them."""
        centers = gather_points(xyz, furthest_point_sample(xyz, self.num_points, self.skip_near_origin))
        return centers, ball_query(xyz, centers, self.radius, self.num_samples)

    def pool(self, groups: Tensor) -> Tensor:
        """Return the features (B, M, C') of neighborhoods (B, 3 + C, M, S)."""
        return self.mlp(groups).max(dim=3).values.transpose(1, 2)

    def forward(self, xyz: Tensor, features: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Abstract a batch of sets.

        Args:
            xyz: Float (B, N, 3) in meters.
            features: Float (B, N, C), required if ``in_channels`` > 0.

        Returns:
            Centers (B, M, 3) and their features (B, M, C').
        """
        layers = self._matrices(xyz)
        if layers is None:
            centers, groups = self.group(xyz, features)
            return centers, self.pool(groups)
        centers, indices = self._neighborhoods(xyz)
        sets = zip(xyz, centers, indices, [None] * len(xyz) if features is None else features, strict=True)
        return centers, torch.stack([pool_distinct(layers, points, middles, around, self.radius, values)
                                     for points, middles, around, values in sets])

    def of_sets(self, sets: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Abstract B sets (N_i, 3) of any sizes; the result is that of :meth:`forward`.

        Sets of different sizes are sampled one by one; in training they pass the network as one batch.
        """
        if len({len(xyz) for xyz in sets}) == 1:
            return self(torch.stack(list(sets)))
        one_by_one = self._matrices(sets[0]) is not None
        pairs = [self(xyz[None]) if one_by_one else self.group(xyz[None]) for xyz in sets]
        centers, found = (torch.cat(values) for values in zip(*pairs, strict=True))
        return centers, found if one_by_one else self.pool(found)

    def _matrices(self, xyz: Tensor) -> list[tuple[Tensor, Tensor]] | None:
        """Return the network as matrices where :func:`pool_distinct` is faster: in inference on a CPU."""
        return folded_layers(self.mlp) if xyz.device.type == 'cpu' and is_inference(self.mlp) else None


def pointwise_mlp(channels: Sequence[int], dims: int = 1, norm: bool = True, dropout: float = 0.) -> nn.Sequential:
    """Build convolutions of kernel size 1, each followed by BatchNorm, ReLU and dropout.

    Args:
        channels: Widths of the input and of each layer, at least two numbers.
        dims: 1 for inputs (B, C, N), 2 for inputs (B, C, N, S).
        norm: Whether to add BatchNorm, which replaces the bias of the convolutions.
        dropout: Dropout probability after each ReLU; 0 adds no dropout layers.
    """
    convolution, batch_norm = (nn.Conv1d, nn.BatchNorm1d) if dims == 1 else (nn.Conv2d, nn.BatchNorm2d)
    layers = []
    for inputs, outputs in itertools.pairwise(channels):
        layers.append(convolution(inputs, outputs, 1, bias=not norm))
        layers += [batch_norm(outputs)] * norm
        layers.append(nn.ReLU(inplace=True))
        layers += [nn.Dropout(dropout)] * (dropout > 0)
    return nn.Sequential(*layers)
