"""PointBERT, the point encoder of ULIP and ULIP-2: a transformer over groups of neighboring points."""
import torch
from mmdet3d.registry import MODELS
from mmengine.model import BaseModule
from timm.models.vision_transformer import Block
from torch import Tensor, nn

from ..point_ops import furthest_point_sample, gather_points
from .inputs import Clouds, as_clouds


@MODELS.register_module()
class PointBERT(BaseModule):
    """Encoder of whole clouds into the feature space of a CLIP (ULIP, Xue et al., CVPR 2023, section 3).

    512 centers by furthest point sampling, each with its 32 nearest neighbors relative to it; a small PointNet makes a
    token of each group; 12 transformer blocks, to whose input the position of each token is added anew; then the class
    token and the maximum of the other tokens are projected to the embedding. ULIP trains on centered clouds in the unit
    ball, y up, with 8,192 points; ULIP-2 on 10,000 with colors.

    Args:
        in_channels: 3 for coordinates (ULIP), 6 for coordinates and colors (ULIP-2).
        embed_dims: Width of the transformer.
        depth: Number of blocks: 12 (ULIP) or 18 (ULIP-2).
        num_heads: Attention heads of a block.
        num_groups: Groups of a cloud.
        group_size: Points of a group.
        group_channels: Width of a group's feature.
        drop_path_rate: Drop path of the last block; that of the first is 0, and it grows linearly.
        out_channels: Size D of the embedding: 512 (SLIP) or 1280 (ViT-bigG).
        missing_color: Gray value of points without colors, as in ULIP-2; used with 6 channels.
        init_cfg: See mmengine.
    """

    def __init__(self, in_channels: int = 3, embed_dims: int = 384, depth: int = 12, num_heads: int = 6,
                 num_groups: int = 512, group_size: int = 32, group_channels: int = 256, drop_path_rate: float = .1,
                 out_channels: int = 512, missing_color: float = .4, init_cfg: dict | None = None) -> None:
        super().__init__(init_cfg)
        if in_channels not in (3, 6):
            raise ValueError(f'in_channels must be 3 (xyz) or 6 (xyz and rgb), got {in_channels}')
        self.num_groups, self.group_size, self.out_channels = num_groups, group_size, out_channels
        self.missing_color = missing_color if in_channels == 6 else None
        self.group_encoder = GroupEncoder(in_channels, group_channels)
        self.reduce_dim = nn.Linear(group_channels, embed_dims)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, embed_dims))
        self.cls_pos = nn.Parameter(torch.randn(1, 1, embed_dims))
        self.pos_embed = nn.Sequential(nn.Linear(3, 128), nn.GELU(), nn.Linear(128, embed_dims))
        rates = [drop_path_rate * index / max(depth - 1, 1) for index in range(depth)]
        self.blocks = nn.ModuleList(
            Block(embed_dims, num_heads, mlp_ratio=4, qkv_bias=False, drop_path=rate, norm_layer=nn.LayerNorm)
            for rate in rates)
        self.norm = nn.LayerNorm(embed_dims)
        self.projection = nn.Parameter(torch.randn(2 * embed_dims, out_channels) / (2 * embed_dims)**.5)

    def forward(self, points: Clouds, colors: Clouds | None = None) -> Tensor:
        """Encode a batch of clouds.

        Args:
            points: Float (B, N, 3), or B tensors (N_i, 3), each with at least ``group_size`` points.
            colors: Float in [0, 1] of the same shapes; None for ``missing_color``. Ignored with ``in_channels=3``.

        Returns:
            Float32 (B, D), not normalized.
        """
        return self.features(points, colors) @ self.projection

    def features(self, points: Clouds, colors: Clouds | None = None) -> Tensor:
        """Return the features before the projection, (B, 2 * embed_dims): class token and maximum of the others."""
        centers, groups = self.group(as_clouds(points, colors, self.missing_color))
        tokens = self.reduce_dim(self.group_encoder(groups))
        tokens = torch.cat([self.cls_token.expand(len(tokens), -1, -1), tokens], dim=1)
        positions = torch.cat([self.cls_pos.expand(len(tokens), -1, -1), self.pos_embed(centers)], dim=1)
        for block in self.blocks:
            tokens = block(tokens + positions)
        tokens = self.norm(tokens)
        return torch.cat([tokens[:, 0], tokens[:, 1:].amax(dim=1)], dim=1)

    def group(self, clouds: list[Tensor]) -> tuple[Tensor, Tensor]:
        """Group the points of each cloud around furthest points.

        Args:
            clouds: B tensors (N_i, C).

        Returns:
            Centers (B, G, 3), and groups (B, G, S, C), whose coordinates are relative to the center.
        """
        centers, groups = [], []
        for index, cloud in enumerate(clouds):
            if len(cloud) < self.group_size:
                raise ValueError(f'cloud {index} has {len(cloud)} points, fewer than a group of {self.group_size}')
            xyz = cloud[None, :, :3]
            # The kernel that ULIP was trained with never picks points next to the origin.
            chosen = furthest_point_sample(xyz, self.num_groups, skip_near_origin=True)
            center = gather_points(xyz, chosen)[0]
            distances = torch.cdist(center, cloud[:, :3], compute_mode='donot_use_mm_for_euclid_dist')
            neighbors = distances.topk(self.group_size, dim=1, largest=False).indices
            group = cloud[neighbors]
            groups.append(torch.cat([group[..., :3] - center[:, None], group[..., 3:]], dim=-1))
            centers.append(center)
        return torch.stack(centers), torch.stack(groups)


class GroupEncoder(nn.Module):
    """PointNet of one group: points to a feature, in two stages with a maximum over the group after each.

    Args:
        in_channels: Channels of a point.
        out_channels: Channels of the feature.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.first_conv = nn.Sequential(
            nn.Conv1d(in_channels, 128, 1), nn.BatchNorm1d(128), nn.ReLU(inplace=True), nn.Conv1d(128, 256, 1))
        self.second_conv = nn.Sequential(
            nn.Conv1d(512, 512, 1), nn.BatchNorm1d(512), nn.ReLU(inplace=True), nn.Conv1d(512, out_channels, 1))

    def forward(self, groups: Tensor) -> Tensor:
        """Encode groups (B, G, S, C) to features (B, G, out_channels)."""
        flat = groups.flatten(0, 1).transpose(1, 2)
        local = self.first_conv(flat)
        shared = local.amax(dim=2, keepdim=True).expand_as(local)
        return self.second_conv(torch.cat([shared, local], dim=1)).amax(dim=2).unflatten(0, groups.shape[:2])
