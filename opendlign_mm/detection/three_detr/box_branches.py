"""From decoded queries to box parameters."""
from typing import Dict

from torch import Tensor, nn

from .pointwise_mlp import pointwise_mlp


class BoxBranches(nn.ModuleDict):
    """One small network each for class, centre, size, angle bin and angle residual.

    Args:
        channels (int): C, of the queries.
        num_classes (int): without the background.
        num_angle_bins (int): 1 for axis-aligned boxes.
        dropout (float): probability.
    """

    def __init__(self, channels: int, num_classes: int, num_angle_bins: int, dropout: float = 0.3) -> None:
        outputs = dict(cls=num_classes + 1, center=3, size=3, angle_cls=num_angle_bins, angle_residual=num_angle_bins)
        super().__init__({
            name: pointwise_mlp([channels] * 3, dropout=dropout).append(nn.Conv1d(channels, count, 1))
            for name, count in outputs.items()
        })

    def forward(self, queries: Tensor) -> Dict[str, Tensor]:
        """(L, B, K, C) -> for each branch (L, B, K, outputs); all layers are one batch for BatchNorm."""
        batch = queries.flatten(0, 1).transpose(1, 2)
        return {name: branch(batch).transpose(1, 2).unflatten(0, queries.shape[:2]) for name, branch in self.items()}
