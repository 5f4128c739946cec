"""Networks that predict the boxes of 3DETR, and the encoding and decoding of boxes."""
import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from .set_abstraction import pointwise_mlp

# Smallest extent of a scene in meters, for a single point or a bare floor.
MIN_EXTENT = 0.1


class BoxBranches(nn.ModuleDict):
    """One small network each for class, center, size, angle bin and angle residual.

    Args:
        channels: C, width of the queries.
        num_classes: Number of classes without the background.
        num_angle_bins: Number of angle bins, 1 for axis-aligned boxes.
        dropout: Dropout probability.
    """

    def __init__(self, channels: int, num_classes: int, num_angle_bins: int, dropout: float = 0.3) -> None:
        outputs = dict(cls=num_classes + 1, center=3, size=3, angle_cls=num_angle_bins, angle_residual=num_angle_bins)
        super().__init__({
            name: pointwise_mlp([channels] * 3, dropout=dropout).append(nn.Conv1d(channels, count, 1))
            for name, count in outputs.items()
        })

    def forward(self, queries: Tensor) -> dict[str, Tensor]:
        """Predict raw box parameters.

        Args:
            queries: Float (L, B, K, C); BatchNorm sees all layers as one batch.

        Returns:
            Float (L, B, K, outputs) for each branch.
        """
        batch = queries.flatten(0, 1).transpose(1, 2)
        return {name: branch(batch).transpose(1, 2).unflatten(0, queries.shape[:2]) for name, branch in self.items()}


@dataclass
class SceneBounds:
    """Axis-aligned bounds of B scenes, in meters.

    Attributes:
        low: Float (B, 3), lower corners.
        extent: Float (B, 3), sizes, at least ``MIN_EXTENT``.
    """
    low: Tensor
    extent: Tensor

    @classmethod
    def of(cls, scenes: list[Tensor]) -> 'SceneBounds':
        """Compute the bounds of B point sets (N_i, 3)."""
        low = torch.stack([xyz.amin(dim=0) for xyz in scenes])
        high = torch.stack([xyz.amax(dim=0) for xyz in scenes])
        return cls(low, (high - low).clamp(min=MIN_EXTENT))

    def normalize(self, xyz: Tensor) -> Tensor:
        """Map coordinates (..., B, K, 3) in meters to [0, 1] within the bounds."""
        return (xyz - self.low[:, None]) / self.extent[:, None]


def decode_boxes(raw: dict[str, Tensor], query_xyz: Tensor, bounds: SceneBounds) -> dict[str, Tensor]:
    """Convert the outputs of :class:`BoxBranches` to meters and radians.

    Args:
        raw: Outputs of :class:`BoxBranches`, (L, B, K, outputs) each.
        query_xyz: Float (B, K, 3), positions of the queries in meters.
        bounds: Bounds of the B scenes.

    Returns:
        (L, B, K, ...) each: ``cls_logits`` (classes + 1, the background last), ``center`` (3; gravity center),
        ``size`` (3), ``angle`` (radians in (-pi, pi], from +x towards +y, 0 with one bin), ``objectness`` in [0, 1];
        for the losses ``normalized_center``, ``normalized_size``, ``angle_logits`` and ``normalized_residual`` (bins).
    """
    # Centers are at most half a meter away from their query along each axis.
    center = query_xyz + raw['center'].sigmoid() - .5
    normalized_size = raw['size'].sigmoid()
    return dict(
        cls_logits=raw['cls'],
        center=center,
        size=normalized_size * bounds.extent[:, None],
        angle=decode_angle(raw['angle_cls'], raw['angle_residual']),
        objectness=1 - raw['cls'].softmax(dim=-1)[..., -1],
        normalized_center=bounds.normalize(center),
        normalized_size=normalized_size,
        angle_logits=raw['angle_cls'],
        normalized_residual=raw['angle_residual'])


def decode_angle(logits: Tensor, normalized_residual: Tensor) -> Tensor:
    """Return angles (...) from logits (..., bins) and residuals (..., bins) in half bin widths; zeros with one bin."""
    bins = logits.shape[-1]
    if bins == 1:
        return torch.zeros_like(logits[..., 0])
    chosen = logits.argmax(dim=-1)
    residual = normalized_residual.gather(-1, chosen[..., None])[..., 0] * (math.pi / bins)
    angle = chosen * (2 * math.pi / bins) + residual
    return torch.where(angle > math.pi, angle - 2 * math.pi, angle)


def encode_angle(angle: Tensor, bins: int) -> tuple[Tensor, Tensor]:
    """Return the nearest bins of angles (...) and the residuals; zeros with one bin.

    Args:
        angle: Float (...) in radians.
        bins: Number of bins; bin b is centered at ``2 * pi * b / bins``.

    Returns:
        Bins int64 (...) in [0, bins), and residuals (...) in half bin widths, in [-1, 1].
    """
    if bins == 1:
        return torch.zeros_like(angle, dtype=torch.long), torch.zeros_like(angle)
    width = 2 * math.pi / bins
    nearest = (angle / width).round()
    return nearest.long() % bins, (angle - nearest * width) / (width / 2)
