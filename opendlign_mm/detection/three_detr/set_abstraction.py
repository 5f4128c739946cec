"""Set abstraction (PointNet++): furthest points, their neighborhoods, and a shared MLP."""
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ...point_ops import ball_query, furthest_point_sample, gather_points, group_points


def pointwise_mlp(channels: Sequence[int], dims: int = 1, norm: bool = True, dropout: float = 0.) -> nn.Sequential:
    """Convolutions of size 1, each followed by BatchNorm, ReLU and dropout.

    Args:
        channels: Of the input and of each layer, at least two numbers.
        dims: 1 for (B, C, N), 2 for (B, C, N, S).
        norm: With BatchNorm, and then without bias.
        dropout: Probability after each ReLU; 0 adds no such layer.
    """
    convolution, batch_norm = (nn.Conv1d, nn.BatchNorm1d) if dims == 1 else (nn.Conv2d, nn.BatchNorm2d)
    layers = []
    for inputs, outputs in zip(channels, channels[1:]):
        layers.append(convolution(inputs, outputs, 1, bias=not norm))
        layers += [batch_norm(outputs)] * norm
        layers.append(nn.ReLU(inplace=True))
        layers += [nn.Dropout(dropout)] * (dropout > 0)
    return nn.Sequential(*layers)


class SetAbstraction(nn.Module):
    """Furthest points, the points around each, a network for every point, the maximum.

    Args:
        num_points (int): M, points that remain. A set with fewer points repeats some.
        radius (float): meters, of the neighborhood; offsets from its center are divided by it.
        num_samples (int): S, most points of a neighborhood.
        channels (Sequence[int]): of the network's layers.
        in_channels (int): C, of the points' features beside their offsets.
        skip_near_origin (bool): see :func:`furthest_point_sample`; published weights were trained so.
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
        """The centers (B, M, 3) and their neighborhoods (B, 3 + C, M, S): offsets first, then features."""
        centers = gather_points(xyz, furthest_point_sample(xyz, self.num_points, self.skip_near_origin))
        indices = ball_query(xyz, centers, self.radius, self.num_samples)
        groups = (group_points(xyz, indices) - centers[:, :, None]) / self.radius
        if features is not None:
            groups = torch.cat([groups, group_points(features, indices)], dim=-1)
        return centers, groups.permute(0, 3, 1, 2)

    def pool(self, groups: Tensor) -> Tensor:
        """Features (B, M, C') of neighborhoods (B, 3 + C, M, S)."""
        return self.mlp(groups).max(dim=3).values.transpose(1, 2)

    def forward(self, xyz: Tensor, features: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Abstract a batch of sets.

        Args:
            xyz (Tensor): float (B, N, 3) in meters.
            features (Tensor, optional): (B, N, C).

        Returns:
            tuple: centers (B, M, 3) and their features (B, M, C').
        """
        centers, groups = self.group(xyz, features)
        return centers, self.pool(groups)
