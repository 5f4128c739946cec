"""Encoder of 3DETR: self-attention among points, in 3DETR-m among near ones only."""
from typing import Optional, Sequence, Tuple

import torch
from torch import Tensor, nn

from .set_abstraction import SetAbstraction


class PointEncoder(nn.Module):
    """Pre-norm transformer layers without position embedding and without a final norm.

    Args:
        channels (int): width.
        num_layers (int): layers.
        num_heads (int): attention heads.
        feedforward_channels (int): width of the feed-forward part.
        dropout (float): probability.
        masking_radii (Sequence[float], optional): per layer; points at this distance (metres) or further do not attend
            to each other. The published 3DETR-m uses the squares of 0.4, 0.8 and 1.2, compared with plain distances.
        downsampling (dict, optional): arguments of a :class:`SetAbstraction` after the first layer.
    """

    def __init__(self,
                 channels: int,
                 num_layers: int = 3,
                 num_heads: int = 4,
                 feedforward_channels: int = 128,
                 dropout: float = 0.1,
                 masking_radii: Optional[Sequence[float]] = None,
                 downsampling: Optional[dict] = None) -> None:
        super().__init__()
        if masking_radii is not None and len(masking_radii) != num_layers:
            raise ValueError(f'{len(masking_radii)} masking radii for {num_layers} layers')
        self.masking_radii = masking_radii
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(
                channels, num_heads, feedforward_channels, dropout, batch_first=True, norm_first=True)
            for _ in range(num_layers))
        for parameter in self.parameters():
            if parameter.dim() > 1:
                nn.init.xavier_uniform_(parameter)
        self.downsampling = None
        if downsampling is not None:
            self.downsampling = SetAbstraction(in_channels=channels, **downsampling)
            if self.downsampling.out_channels != channels:
                raise ValueError(f'downsampling gives {self.downsampling.out_channels} channels, not {channels}')

    def forward(self, xyz: Tensor, features: Tensor) -> Tuple[Tensor, Tensor]:
        """Encode a batch of sets.

        Args:
            xyz (Tensor): float (B, N, 3) in metres.
            features (Tensor): (B, N, C).

        Returns:
            tuple: xyz (B, M, 3) and features (B, M, C) of the points that remain.
        """
        distances = None
        for number, layer in enumerate(self.layers):
            mask = None
            if self.masking_radii is not None:
                if distances is None:
                    distances = torch.cdist(xyz.float(), xyz.float())
                mask = distances >= self.masking_radii[number]
                mask = mask.repeat_interleave(layer.self_attn.num_heads, dim=0)
            features = layer(features, src_mask=mask)
            if number == 0 and self.downsampling is not None:
                xyz, features = self.downsampling(xyz, features)
                distances = None
        return xyz, features
