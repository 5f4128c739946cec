"""Adapters that fuse the view features of an object, trained on a few labeled objects (PointCLIP, CLIP2Point)."""
import torch
from mmdet3d.registry import MODELS
from mmengine.model import BaseModule
from torch import nn


class ViewFusion(nn.Module):
    """Fusion of all view features to one feature, the part that PointCLIP and CLIP2Point share.

    Args:
        num_views: V.
        channels: D, length of a feature.
        dropout: Share of values that are set to 0 in training, before and after the fusion.
    """

    def __init__(self, num_views: int, channels: int, dropout: float = .075) -> None:
        super().__init__()
        self.num_views = num_views
        self.ratios = nn.Parameter(torch.full((num_views, ), .5))
        self.norm = nn.BatchNorm1d(channels)
        self.fuse = nn.Linear(num_views * channels, channels)
        self.fused_norm = nn.BatchNorm1d(channels)
        self.dropout = nn.Dropout(dropout)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Fuse view features (B, V, D), as CLIP gives them, without normalization, to (B, D).

        Raises:
            ValueError: There is another number of views.
        """
        if features.shape[1] != self.num_views:
            raise ValueError(f'the adapter takes {self.num_views} views, got {features.shape[1]}; set its num_views to '
                             'that of the projection, and train it again')
        scaled = self.norm((features * self.ratios[:, None]).transpose(1, 2)).transpose(1, 2)
        return self.dropout(torch.relu(self.fused_norm(self.fuse(self.dropout(scaled).flatten(1)))))


@MODELS.register_module()
class InterViewAdapter(BaseModule):
    """PointCLIP's adapter: all views fused to one feature, from which each view gets a part (PointCLIP, section 3.2).

    Args:
        num_views: V.
        channels: D, length of a feature; by default that of the model that it belongs to.
        share: Share of the adapted part in the sum with the features themselves, in [0, 1].
        dropout: Dropout of :class:`ViewFusion`.
        init_cfg: Initialization config of mmengine.
    """

    def __init__(self, num_views: int = 10, channels: int = 512, share: float = .6, dropout: float = .075,
                 init_cfg: dict | None = None) -> None:
        super().__init__(init_cfg)
        if not 0 <= share <= 1:
            raise ValueError(f'share must lie in [0, 1], got {share}')
        self.share = share
        self.fusion = ViewFusion(num_views, channels, dropout)
        self.hidden = nn.Linear(channels, channels)
        self.expand = nn.Linear(channels, num_views * channels)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Adapt view features (B, V, D), without normalization, to (B, V, D)."""
        parts = torch.relu(self.expand(torch.relu(self.hidden(self.fusion(features)))))
        return self.share * parts.view_as(features) + (1 - self.share) * features


@MODELS.register_module()
class DualPathAdapter(BaseModule):
    """CLIP2Point's adapter: one path for each branch, their mean is the feature (CLIP2Point, section 3.3).

    Args:
        num_views: V.
        channels: D, length of a feature; by default that of the model that it belongs to.
        dropout: Dropout of :class:`ViewFusion`.
        init_cfg: Initialization config of mmengine.
    """

    def __init__(self, num_views: int = 10, channels: int = 512, dropout: float = .075, init_cfg: dict | None = None
                 ) -> None:
        super().__init__(init_cfg)
        self.tuned, self.pretrained = (nn.Sequential(ViewFusion(num_views, channels, dropout),
                                                     nn.Linear(channels, channels)) for _ in range(2))

    def forward(self, tuned: torch.Tensor, pretrained: torch.Tensor) -> torch.Tensor:
        """Fuse the view features (B, V, D) of both branches, without normalization, to (B, D)."""
        return (self.tuned(tuned) + self.pretrained(pretrained)) / 2
