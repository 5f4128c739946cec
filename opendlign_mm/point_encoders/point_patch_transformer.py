"""Point patch transformer, the PointBERT of OpenShape and TAMM: a transformer over patches of a colored cloud."""
import itertools
from typing import Literal

import torch
from mmdet3d.registry import MODELS
from mmengine.model import BaseModule
from timm.models.vision_transformer import Block
from torch import Tensor, nn

from ..point_ops import ball_query, furthest_point_sample, gather_points, group_points
from .inputs import Clouds, as_clouds

HEAD_CHANNELS = 64
# OpenShape's sizes, by its name "scaling", and the one of its files for ViT-L-14 and ViT-B-32.
SCALINGS = {
    1: dict(embed_dims=256, depth=6, mlp_channels=1024, patch_channels=96, num_patches=64, radius=.4, patch_size=256),
    2: dict(embed_dims=512, depth=6, mlp_channels=1024, patch_channels=128, num_patches=64, radius=.4, patch_size=256),
    3: dict(embed_dims=512, depth=12, mlp_channels=1024, patch_channels=128, num_patches=128, radius=.35,
            patch_size=128),
    4: dict(embed_dims=512, depth=12, mlp_channels=1536, patch_channels=256, num_patches=384, radius=.2, patch_size=64),
    5: dict(embed_dims=768, depth=12, mlp_channels=2304, patch_channels=256, num_patches=512, radius=.2, patch_size=64),
    6: dict(embed_dims=768, depth=24, mlp_channels=3072, patch_channels=256, num_patches=512, radius=.2, patch_size=64),
    'l14': dict(embed_dims=512, depth=12, mlp_channels=1024, patch_channels=128, num_patches=64, radius=.4,
                patch_size=256),
}


@MODELS.register_module()
class PointPatchTransformer(BaseModule):
    """Encoder of whole colored clouds into the feature space of a CLIP (OpenShape, Liu et al., NeurIPS 2023).

    Centers by furthest point sampling; the points within a radius of each, with their colors, go through a set
    abstraction; center and feature are lifted to a token; a transformer without further positions and without a final
    norm; the class token is projected. OpenShape trains on centered clouds in the unit ball with 10,000 points; its
    models for ViT-bigG-14 want z up, those for ViT-L-14 and ViT-B-32 y up.

    Args:
        scaling: OpenShape's size: 1 to 6 (4 is published for ViT-bigG-14), or 'l14' (published for ViT-L-14 and
            ViT-B-32).
        out_channels: Size D of the embedding; None leaves the class token as it is (the ViT-B-32 file, and TAMM).
        first_point: Start of the furthest point sampling: the point of index 0, so that equal clouds have equal
            embeddings, or a random one as in the released code, also at test time.
        missing_color: Gray value of points without colors.
        sizes: Changes to the sizes of ``scaling``, for small models.
        init_cfg: See mmengine.
    """

    def __init__(self, scaling: int | str = 4, out_channels: int | None = 1280,
                 first_point: Literal['first', 'random'] = 'first', missing_color: float = .4,
                 sizes: dict | None = None, init_cfg: dict | None = None) -> None:
        super().__init__(init_cfg)
        if scaling not in SCALINGS:
            raise ValueError(f'scaling must be one of {", ".join(map(str, SCALINGS))}, got {scaling}')
        if first_point not in ('first', 'random'):
            raise ValueError(f"first_point must be 'first' or 'random', got {first_point!r}")
        size = {**SCALINGS[scaling], **(sizes or {})}
        width, channels = size['embed_dims'], size['patch_channels']
        self.num_patches, self.radius, self.patch_size = size['num_patches'], size['radius'], size['patch_size']
        self.first_point, self.missing_color = first_point, missing_color
        self.out_channels = width if out_channels is None else out_channels
        widths = (9, 64, 64, channels)
        self.patch_mlp = nn.Sequential(*(layer for before, after in itertools.pairwise(widths) for layer in (
            nn.Conv2d(before, after, 1), nn.BatchNorm2d(after), nn.ReLU(inplace=True))))
        self.lift = nn.Conv1d(3 + channels, width, 1)
        self.lift_norm = nn.LayerNorm(width)
        self.cls_token = nn.Parameter(torch.randn(width))
        self.blocks = nn.ModuleList(
            Block(width, width // HEAD_CHANNELS, mlp_ratio=size['mlp_channels'] / width, qkv_bias=False,
                  norm_layer=nn.LayerNorm)
            for _ in range(size['depth']))
        self.projection = nn.Identity() if out_channels is None else nn.Linear(width, out_channels)

    def forward(self, points: Clouds, colors: Clouds | None = None) -> Tensor:
        """Encode a batch of clouds.

        Args:
            points: Float (B, N, 3), or B tensors (N_i, 3).
            colors: Float in [0, 1] of the same shapes; None for ``missing_color``.

        Returns:
            Float32 (B, D), not normalized.
        """
        return self.projection(self.class_token(points, colors))

    def class_token(self, points: Clouds, colors: Clouds | None = None) -> Tensor:
        """Return the class token (B, embed_dims) before the projection."""
        centers, patches = self.patches(as_clouds(points, colors, self.missing_color))
        tokens = self.lift(torch.cat([centers, patches], dim=2).transpose(1, 2)).transpose(1, 2)
        tokens = self.lift_norm(tokens)
        tokens = torch.cat([self.cls_token.expand(len(tokens), 1, -1), tokens], dim=1)
        for block in self.blocks:
            tokens = block(tokens)
        return tokens[:, 0]

    def patches(self, clouds: list[Tensor]) -> tuple[Tensor, Tensor]:
        """Encode the neighborhoods of furthest points.

        Args:
            clouds: B tensors (N_i, 6), coordinates and colors.

        Returns:
            Centers (B, P, 3), and their features (B, P, patch_channels).
        """
        # The released code counts points at exactly the radius, ball_query does not.
        radius = self.radius * (1 + 2**-22)
        centers, grouped = [], []
        for cloud in clouds:
            xyz = cloud[None, :, :3]
            start = int(torch.randint(max(len(cloud) - 1, 1), ())) if self.first_point == 'random' else 0
            order = torch.arange(len(cloud), device=cloud.device).roll(-start)
            chosen = order[furthest_point_sample(xyz[:, order], self.num_patches)]
            center = gather_points(xyz, chosen)
            group = group_points(cloud[None], ball_query(xyz, center, radius, self.patch_size))
            grouped.append(torch.cat([group[..., :3] - center[:, :, None], group], dim=-1))
            centers.append(center)
        features = self.patch_mlp(torch.cat(grouped).permute(0, 3, 1, 2)).amax(dim=3)
        return torch.cat(centers), features.transpose(1, 2)
