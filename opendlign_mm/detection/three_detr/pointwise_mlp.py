"""The same small network for every point."""
from typing import Sequence

from torch import nn


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
