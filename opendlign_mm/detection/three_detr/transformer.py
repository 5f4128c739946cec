"""Transformer encoder and decoder of 3DETR, and the Fourier features of positions."""
import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .inference import is_inference
from .set_abstraction import SetAbstraction


class PointEncoder(nn.Module):
    """Pre-norm transformer layers without position embedding and without a final norm.

    Args:
        channels: Width.
        num_layers: Number of layers.
        num_heads: Number of attention heads.
        feedforward_channels: Width of the feed-forward part.
        dropout: Dropout probability.
        masking_radii: One distance in meters per layer; points at this distance or further do not attend to each other.
            The published 3DETR-m uses the squares of 0.4, 0.8 and 1.2, compared with plain distances.
        downsampling: Arguments of a :class:`SetAbstraction` after the first layer.

    Raises:
        ValueError: There is not one radius per layer, or the downsampling changes the width.
    """

    def __init__(self,
                 channels: int,
                 num_layers: int = 3,
                 num_heads: int = 4,
                 feedforward_channels: int = 128,
                 dropout: float = 0.1,
                 masking_radii: Sequence[float] | None = None,
                 downsampling: dict | None = None) -> None:
        super().__init__()
        if masking_radii is not None and len(masking_radii) != num_layers:
            raise ValueError(f'masking_radii must be one radius for each of {num_layers} layers, '
                             f'got {len(masking_radii)}')
        self.masking_radii = masking_radii
        self.layers = nn.ModuleList(
            EncoderLayer(channels, num_heads, feedforward_channels, dropout) for _ in range(num_layers))
        for parameter in self.parameters():
            if parameter.dim() > 1:
                nn.init.xavier_uniform_(parameter)
        self.downsampling = None
        if downsampling is not None:
            self.downsampling = SetAbstraction(in_channels=channels, **downsampling)
            if self.downsampling.out_channels != channels:
                raise ValueError(f'the last of downsampling.channels must be {channels}, '
                                 f'got {self.downsampling.out_channels}')

    def forward(self, xyz: Tensor, features: Tensor) -> tuple[Tensor, Tensor]:
        """Encode a batch of sets.

        Args:
            xyz: Float (B, N, 3) in meters.
            features: Float (B, N, C).

        Returns:
            xyz (B, M, 3) and features (B, M, C) of the points that remain.
        """
        distances = None
        for number, layer in enumerate(self.layers):
            hidden = None
            if self.masking_radii is not None:
                if distances is None:
                    # By matrix products, distances far from the origin would be wrong by more than the radii.
                    distances = torch.cdist(xyz.float(), xyz.float(), compute_mode='donot_use_mm_for_euclid_dist')
                hidden = distances >= self.masking_radii[number]
            features = layer(features, hidden)
            if number == 0 and self.downsampling is not None:
                xyz, features = self.downsampling(xyz, features)
                distances = None
        return xyz, features


class EncoderLayer(nn.TransformerEncoderLayer):
    """Pre-norm transformer layer whose attention may be restricted to some pairs.

    In inference the mask is not repeated for each head, and no attention is stored.

    Args:
        channels: Width.
        num_heads: Number of attention heads.
        feedforward_channels: Width of the feed-forward part.
        dropout: Dropout probability.
    """

    def __init__(self, channels: int, num_heads: int, feedforward_channels: int, dropout: float) -> None:
        super().__init__(channels, num_heads, feedforward_channels, dropout, batch_first=True, norm_first=True)

    def forward(self, features: Tensor, hidden: Tensor | None = None) -> Tensor:  # type: ignore[override]
        """Update features (B, N, C), where pairs ``hidden``, bool (B, N, N), do not attend to each other."""
        attention = self.self_attn
        if not is_inference(self):
            mask = None if hidden is None else hidden.repeat_interleave(attention.num_heads, dim=0)
            return super().forward(features, src_mask=mask)
        projected = F.linear(self.norm1(features), attention.in_proj_weight, attention.in_proj_bias)
        queries, keys, values = projected.unflatten(-1, (3, attention.num_heads, -1)).permute(2, 0, 3, 1, 4)
        attended = F.scaled_dot_product_attention(
            queries, keys, values, attn_mask=None if hidden is None else ~hidden[:, None])
        features = features + attention.out_proj(attended.transpose(1, 2).flatten(2))
        return features + self.linear2(self.linear1(self.norm2(features)).relu())


class QueryDecoder(nn.Module):
    """Decoder layers with one final norm, which is applied to the output of each layer.

    Args:
        channels: Width.
        num_layers: Number of layers.
        num_heads: Number of attention heads.
        feedforward_channels: Width of the feed-forward part.
        dropout: Dropout probability.
    """

    def __init__(self,
                 channels: int,
                 num_layers: int = 8,
                 num_heads: int = 4,
                 feedforward_channels: int = 256,
                 dropout: float = 0.1) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            DecoderLayer(channels, num_heads, feedforward_channels, dropout) for _ in range(num_layers))
        self.norm = nn.LayerNorm(channels)
        for parameter in self.parameters():
            if parameter.dim() > 1:
                nn.init.xavier_uniform_(parameter)

    def forward(self,
                memory: Tensor,
                query_positions: Tensor,
                memory_positions: Tensor,
                queries: Tensor | None = None) -> Tensor:
        """Update queries layer by layer.

        Args:
            memory: Float (B, M, C), encoded points.
            query_positions: Float (B, K, C), features of the positions of the queries.
            memory_positions: Float (B, M, C), features of the positions of the points.
            queries: Float (B, K, C), initial queries; zeros by default.

        Returns:
            Float (L, B, K, C), the queries after each of L layers.
        """
        if queries is None:
            queries = torch.zeros_like(query_positions)
        outputs = []
        for layer in self.layers:
            queries = layer(queries, memory, query_positions, memory_positions)
            outputs.append(self.norm(queries))
        return torch.stack(outputs)


class DecoderLayer(nn.Module):
    """Pre-norm self-attention, cross-attention and feed-forward part; positions are added to queries and keys only.

    Args:
        channels: Width.
        num_heads: Number of attention heads.
        feedforward_channels: Width of the feed-forward part.
        dropout: Dropout probability.
    """

    def __init__(self, channels: int, num_heads: int, feedforward_channels: int, dropout: float) -> None:
        super().__init__()
        self.self_attention = nn.MultiheadAttention(channels, num_heads, dropout, batch_first=True)
        self.cross_attention = nn.MultiheadAttention(channels, num_heads, dropout, batch_first=True)
        self.norm1, self.norm2, self.norm3 = nn.LayerNorm(channels), nn.LayerNorm(channels), nn.LayerNorm(channels)
        self.linear1 = nn.Linear(channels, feedforward_channels)
        self.linear2 = nn.Linear(feedforward_channels, channels)
        self.dropout = nn.Dropout(dropout)

    def forward(self, queries: Tensor, memory: Tensor, query_positions: Tensor, memory_positions: Tensor) -> Tensor:
        """Update queries (B, K, C) from the memory (B, M, C); positions have the shapes of what they belong to."""
        normed = self.norm1(queries)
        positioned = normed + query_positions
        queries = queries + self.dropout(self.self_attention(positioned, positioned, normed, need_weights=False)[0])
        attended = self.cross_attention(
            self.norm2(queries) + query_positions, memory + memory_positions, memory, need_weights=False)[0]
        queries = queries + self.dropout(attended)
        hidden = self.dropout(self.linear1(self.norm3(queries)).relu())
        return queries + self.dropout(self.linear2(hidden))


class FourierPositions(nn.Module):
    """Sines and cosines of random projections of normalized coordinates.

    The buffer ``frequencies`` (3, C / 2) is drawn once and stored in checkpoints.

    Args:
        channels: C, an even number.

    Raises:
        ValueError: ``channels`` is odd.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        if channels % 2:
            raise ValueError(f'channels must be even, got {channels}')
        self.register_buffer('frequencies', torch.randn(3, channels // 2))

    def forward(self, normalized_xyz: Tensor) -> Tensor:
        """Encode coordinates (B, N, 3), in [0, 1] within the bounds of their scene, as (B, N, C)."""
        projected = 2 * math.pi * normalized_xyz @ self.frequencies
        return torch.cat([projected.sin(), projected.cos()], dim=-1)
