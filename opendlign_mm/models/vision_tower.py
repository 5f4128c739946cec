"""Image towers of CLIP as separate steps: embed, blocks, pool."""
from typing import Any

import torch
from open_clip.modified_resnet import ModifiedResNet
from open_clip.timm_model import TimmModel
from open_clip.transformer import VisionTransformer
from timm.models.eva import Eva
from timm.models.vision_transformer import VisionTransformer as TimmVisionTransformer
from timm.models.vision_transformer_relpos import VisionTransformerRelPos
from torch import nn

from .vision_blocks import ClassTokenOfBlock, PackedBlock, can_be_packed


class TransformerTower:
    """Steps of open_clip's ``VisionTransformer``.

    It holds a reference to the tower and no parameters of its own. ``has_feature_map`` tells whether
    :meth:`feature_map` exists. Tokens are in the order that the blocks expect:
    (N, L, width), or (L, N, width) where the transformer is not batch first; the class token is the first of L.
    """

    has_feature_map = True

    def __init__(self, visual: Any) -> None:
        self.visual = visual

    @property
    def blocks(self) -> list[nn.Module]:
        """The transformer blocks, first to last."""
        return list(self.visual.transformer.resblocks)

    @property
    def width(self) -> int:
        """Number of channels of a token."""
        return self.visual.conv1.out_channels

    @property
    def batch_dim(self) -> int:
        """Dimension of the images in the tokens."""
        return 0 if self.visual.transformer.batch_first else 1

    @property
    def numbers_per_image(self) -> int:
        """Numbers of an image between two blocks: tokens times width."""
        return self.visual.positional_embedding.shape[0] * self.width

    def _swap_if_needed(self, tokens: torch.Tensor) -> torch.Tensor:
        return tokens if self.visual.transformer.batch_first else tokens.transpose(0, 1).contiguous()

    def embed(self, images: torch.Tensor) -> torch.Tensor:
        """Turn normalized images (N, 3, H, W) into the tokens before the first block."""
        return self._swap_if_needed(self.visual._embeds(images))

    def run(self, block: nn.Module, tokens: torch.Tensor) -> torch.Tensor:
        """Apply a block of the tower, or a copy of one, to tokens."""
        return block(tokens)

    def packed(self, block: nn.Module) -> nn.Module:
        """Return a module that computes a block in less time, or ``block``."""
        return PackedBlock(block) if can_be_packed(block) else block

    def last(self, block: nn.Module) -> nn.Module:
        """Return a module that computes of a last block what :meth:`pool` takes: the class token or all tokens."""
        visual = self.visual
        takes_class_token = visual.attn_pool is None and visual.pool_type == 'tok'
        if takes_class_token and can_be_packed(block):
            return ClassTokenOfBlock(block)
        return self.packed(block)

    def pool(self, tokens: torch.Tensor) -> torch.Tensor:
        """Turn tokens after the last block into embeddings (N, D): final norm, pooling, projection."""
        pooled, _ = self.visual._pool(self._swap_if_needed(tokens))
        return pooled if self.visual.proj is None else pooled @ self.visual.proj

    def feature_map(self, tokens: torch.Tensor) -> torch.Tensor:
        """Turn tokens after the last block into a map (N, width, h, w) of the patch tokens, after the final norm."""
        tokens = self._swap_if_needed(tokens)
        if self.visual.attn_pool is None:  # with attention pooling the final norm belongs to the pooled tokens
            tokens = self.visual.ln_post(tokens)
        return _as_map(tokens[:, 1:], self.visual.grid_size)


class TimmTransformerTower(TransformerTower):
    """Steps of a timm ``VisionTransformer`` inside open_clip's ``TimmModel``, such as that of SigLIP."""

    def __init__(self, visual: TimmModel) -> None:
        super().__init__(visual)
        self.trunk = visual.trunk

    @property
    def blocks(self) -> list[nn.Module]:
        """The transformer blocks, first to last."""
        return list(self.trunk.blocks)

    @property
    def width(self) -> int:
        """Number of channels of a token."""
        return self.trunk.embed_dim

    @property
    def numbers_per_image(self) -> int:
        """Numbers of an image between two blocks: tokens times width."""
        return (self.trunk.patch_embed.num_patches + self.trunk.num_prefix_tokens) * self.width

    @property
    def batch_dim(self) -> int:
        """Dimension of the images in the tokens."""
        return 0

    def last(self, block: nn.Module) -> nn.Module:
        """Return ``block``: the poolings of timm's towers take all tokens."""
        return block

    def embed(self, images: torch.Tensor) -> torch.Tensor:
        """Turn normalized images (N, 3, H, W) into the tokens before the first block."""
        tokens = self.trunk._pos_embed(self.trunk.patch_embed(images))
        return self.trunk.norm_pre(self.trunk.patch_drop(tokens))

    def pool(self, tokens: torch.Tensor) -> torch.Tensor:
        """Turn tokens after the last block into embeddings (N, D): final norm, pooling, projection."""
        return self.visual.head(self.trunk.forward_head(self.trunk.norm(tokens)))

    def feature_map(self, tokens: torch.Tensor) -> torch.Tensor:
        """Turn tokens after the last block into a map (N, width, h, w) of the patch tokens, after the final norm."""
        tokens = self.trunk.norm(tokens)[:, self.trunk.num_prefix_tokens:]
        return _as_map(tokens, self.trunk.patch_embed.grid_size)


class EvaTower(TimmTransformerTower):
    """Steps of a timm ``Eva``, whose blocks rotate queries and keys by their positions: EVA01, EVA02 and PE-Core."""

    def embed(self, images: torch.Tensor) -> torch.Tensor:
        """Turn normalized images (N, 3, H, W) into the tokens before the first block."""
        tokens, _ = self.trunk._pos_embed(self.trunk.patch_embed(images))
        return self.trunk.norm_pre(tokens)

    def run(self, block: nn.Module, tokens: torch.Tensor) -> torch.Tensor:
        """Apply a block of the tower, or a copy of one, to tokens."""
        rope = self.trunk.rope
        if rope is None:
            return block(tokens)
        has_shape = hasattr(rope, 'feat_shape')
        return block(tokens, rope=rope.get_embed() if has_shape else rope.get_embed(self.trunk.patch_embed.grid_size))


class RelativePositionTower(TimmTransformerTower):
    """Steps of a timm ``VisionTransformerRelPos``, whose attention has a bias for the offset of two tokens."""

    def embed(self, images: torch.Tensor) -> torch.Tensor:
        """Turn normalized images (N, 3, H, W) into the tokens before the first block."""
        tokens = self.trunk.patch_embed(images)
        if self.trunk.cls_token is None:
            return tokens
        return torch.cat([self.trunk.cls_token.expand(len(tokens), -1, -1), tokens], dim=1)

    def run(self, block: nn.Module, tokens: torch.Tensor) -> torch.Tensor:
        """Apply a block of the tower, or a copy of one, to tokens."""
        shared = self.trunk.shared_rel_pos
        return block(tokens, shared_rel_pos=None if shared is None else shared.get_bias())


class ResNetTower(TransformerTower):
    """Steps of open_clip's ``ModifiedResNet``: the one block is its attention pool, the tokens before it a map.

    After the block there are embeddings (N, D), which need no further step.
    """

    has_feature_map = False

    @property
    def blocks(self) -> list[nn.Module]:
        """The attention pool."""
        return [self.visual.attnpool]

    @property
    def width(self) -> int:
        """Number of channels of the map."""
        return self.visual.attnpool.k_proj.in_features

    @property
    def numbers_per_image(self) -> int:
        """Numbers of an image after the first stage, whose map has 64 times the pixels and 1/8 of the channels."""
        pixels = self.visual.attnpool.positional_embedding.shape[0] - 1
        return 8 * pixels * self.width

    @property
    def batch_dim(self) -> int:
        """Dimension of the images in maps and embeddings."""
        return 0

    def embed(self, images: torch.Tensor) -> torch.Tensor:
        """Turn normalized images (N, 3, H, W) into the map (N, width, h, w) before the attention pool."""
        visual = self.visual
        return visual.layer4(visual.layer3(visual.layer2(visual.layer1(visual.stem(images)))))

    def last(self, block: nn.Module) -> nn.Module:
        """Return ``block``, which computes one embedding."""
        return block

    def pool(self, tokens: torch.Tensor) -> torch.Tensor:
        """Return the embeddings (N, D)."""
        return tokens


def _as_map(tokens: torch.Tensor, grid_size: tuple[int, int]) -> torch.Tensor:
    return tokens.transpose(1, 2).unflatten(2, tuple(grid_size))


TIMM_TOWERS: dict[type, type[TimmTransformerTower]] = {
    TimmVisionTransformer: TimmTransformerTower, Eva: EvaTower, VisionTransformerRelPos: RelativePositionTower}


def transformer_tower(visual: nn.Module) -> TransformerTower:
    """Return the steps of an image tower.

    Raises:
        ValueError: The tower does not end in attention, or not in one embedding; the message has the reason.
    """
    if isinstance(visual, VisionTransformer):
        if visual.pool_type == 'none' and visual.attn_pool is None:
            raise ValueError("its image tower returns tokens, not one embedding (pool_type='none')")
        return TransformerTower(visual)
    if isinstance(visual, ModifiedResNet):
        return ResNetTower(visual)
    trunk = getattr(visual, 'trunk', visual)
    # Subclasses of timm's classes change what happens between the blocks.
    if isinstance(visual, TimmModel) and type(trunk) in TIMM_TOWERS and not getattr(trunk, 'rope_mixed', False):
        return TIMM_TOWERS[type(trunk)](visual)
    raise ValueError(f"its image tower is a {type(trunk).__name__}, neither a vision transformer (open_clip's or "
                     "timm's VisionTransformer, Eva or VisionTransformerRelPos) nor a ResNet with an attention pool: "
                     'it has no last block with attention to copy')
