"""Decoder of 3DETR: queries attend to each other and to the encoded points."""
from typing import Optional

import torch
from torch import Tensor, nn


class DecoderLayer(nn.Module):
    """Pre-norm self-attention, cross-attention and feed-forward part; positions are added to queries and keys only."""

    def __init__(self, channels: int, num_heads: int, feedforward_channels: int, dropout: float) -> None:
        super().__init__()
        self.self_attention = nn.MultiheadAttention(channels, num_heads, dropout, batch_first=True)
        self.cross_attention = nn.MultiheadAttention(channels, num_heads, dropout, batch_first=True)
        self.norm1, self.norm2, self.norm3 = nn.LayerNorm(channels), nn.LayerNorm(channels), nn.LayerNorm(channels)
        self.linear1 = nn.Linear(channels, feedforward_channels)
        self.linear2 = nn.Linear(feedforward_channels, channels)
        self.dropout = nn.Dropout(dropout)

    def forward(self, queries: Tensor, memory: Tensor, query_positions: Tensor, memory_positions: Tensor) -> Tensor:
        """Queries (B, K, C), memory (B, M, C) and their positions, likewise -> queries (B, K, C)."""
        normed = self.norm1(queries)
        placed = normed + query_positions
        queries = queries + self.dropout(self.self_attention(placed, placed, normed, need_weights=False)[0])
        attended = self.cross_attention(
            self.norm2(queries) + query_positions, memory + memory_positions, memory, need_weights=False)[0]
        queries = queries + self.dropout(attended)
        hidden = self.dropout(self.linear1(self.norm3(queries)).relu())
        return queries + self.dropout(self.linear2(hidden))


class QueryDecoder(nn.Module):
    """Decoder layers with one final norm, which is applied to the output of each of them.

    Args:
        channels (int): width.
        num_layers (int): layers.
        num_heads (int): attention heads.
        feedforward_channels (int): width of the feed-forward part.
        dropout (float): probability.
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
                queries: Optional[Tensor] = None) -> Tensor:
        """Decode.

        Args:
            memory (Tensor): (B, M, C), encoded points.
            query_positions (Tensor): (B, K, C).
            memory_positions (Tensor): (B, M, C).
            queries (Tensor, optional): (B, K, C), what the queries know at first; zeros by default.

        Returns:
            Tensor: (L, B, K, C), the queries after each of L layers.
        """
        if queries is None:
            queries = torch.zeros_like(query_positions)
        outputs = []
        for layer in self.layers:
            queries = layer(queries, memory, query_positions, memory_positions)
            outputs.append(self.norm(queries))
        return torch.stack(outputs)
