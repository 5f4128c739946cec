"""Shorter computations of what 3DETR computes in evaluation without gradients; the results differ by rounding alone."""
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# Neighborhoods that pass a network at once: 64 neighbors with 256 channels of each stay in the caches of a CPU.
CHUNK = 128


def is_inference(module: nn.Module) -> bool:
    """Tell whether a module is in evaluation mode with all its parts, and no gradients are needed."""
    return not torch.is_grad_enabled() and not any(part.training for part in module.modules())


def folded_layers(mlp: nn.Sequential) -> list[tuple[Tensor, Tensor]] | None:
    """Return the layers of a pointwise network as matrices, BatchNorm folded into them.

    Args:
        mlp: Network in evaluation mode.

    Returns:
        Weights (outputs, inputs) and biases (outputs,) of each layer, each followed by ReLU, in the dtype of the
        weights. None where ``mlp`` is not a sequence of convolution, BatchNorm with running statistics, and ReLU.
    """
    parts = list(mlp)
    if len(parts) % 3:
        return None
    layers = []
    for convolution, norm, activation in zip(parts[::3], parts[1::3], parts[2::3], strict=True):
        if not (type(convolution) in (nn.Conv1d, nn.Conv2d) and type(activation) is nn.ReLU
                and isinstance(norm, nn.modules.batchnorm._BatchNorm) and norm.running_var is not None):
            return None
        scale = (norm.running_var.float() + norm.eps).rsqrt()
        scale = scale if norm.weight is None else scale * norm.weight.float()
        shift = -norm.running_mean.float() if convolution.bias is None else convolution.bias - norm.running_mean.float()
        bias = shift * scale if norm.bias is None else shift * scale + norm.bias.float()
        weight = convolution.weight.flatten(1)
        layers.append(((weight.float() * scale[:, None]).to(weight.dtype), bias.to(weight.dtype)))
    return layers


def pool_distinct(layers: Sequence[tuple[Tensor, Tensor]], xyz: Tensor, centers: Tensor, indices: Tensor,
                  radius: float, features: Tensor | None = None) -> Tensor:
    """Apply a network to the distinct points around each center of one set and take the maximum.

    Places of a neighborhood without a neighbor repeat the first one, which does not change a maximum: neighborhoods of
    similar size pass the network together, without most of their repetitions. Features of a point pass the first layer
    once, not once for each neighborhood.

    Args:
        layers: Result of :func:`folded_layers`.
        xyz: Points, float (N, 3).
        centers: Centers, float (M, 3).
        indices: Points around each center, int64 (M, S), ascending, then repetitions of the first: one set of
            :func:`ball_query`.
        radius: Length by which offsets from the center are divided.
        features: Features of the points, float (N, C).

    Returns:
        Float (M, C').
    """
    counts = 1 + (indices[:, 1:] > indices[:, :1]).sum(dim=1)
    order = counts.argsort()
    (first, first_bias), *others = layers
    of_points = None if features is None else F.linear(features, first[:, 3:])
    pooled = []
    for chunk in order.split(CHUNK):
        rows = indices[chunk, :counts[chunk[-1]]]
        offsets = (xyz[rows] - centers[chunk, None]) / radius
        hidden = F.linear(offsets, first[:, :3], first_bias)
        if of_points is not None:
            hidden += of_points[rows]
        for weight, bias in others:
            hidden = F.linear(hidden.relu_(), weight, bias)
        pooled.append(hidden.amax(dim=1).relu_())
    return torch.cat(pooled)[order.argsort()]
