"""An image tower taken apart at its transformer blocks."""
from typing import List, Optional

import torch
from open_clip.transformer import VisionTransformer
from torch import nn


def why_blocks_cannot_be_tuned(visual: nn.Module) -> Optional[str]:
    """None if ``visual`` is an open_clip ``VisionTransformer`` with an embedding; else the reason, in words."""
    if not isinstance(visual, VisionTransformer):
        inner = getattr(visual, 'trunk', visual)
        return (f"its image tower is a {type(inner).__name__}, not open_clip's VisionTransformer, and so has no "
                'attention block with an in- and out-projection at its end')
    if visual.pool_type == 'none' and visual.attn_pool is None:
        return "its image tower returns tokens, not one embedding (pool_type='none')"
    return None


class TransformerTower:
    """The steps of open_clip's ``VisionTransformer``: embed, blocks, pool.

    It holds a reference to the tower and no parameters of its own. Tokens are in the order the blocks expect:
    (N, L, width), or (L, N, width) where the transformer is not batch first; L counts the class token first.
    """

    def __init__(self, visual: VisionTransformer) -> None:
        self.visual = visual

    @property
    def blocks(self) -> List[nn.Module]:
        return list(self.visual.transformer.resblocks)

    @property
    def width(self) -> int:
        return self.visual.conv1.out_channels

    def _swap_if_needed(self, tokens: torch.Tensor) -> torch.Tensor:
        return tokens if self.visual.transformer.batch_first else tokens.transpose(0, 1).contiguous()

    def embed(self, images: torch.Tensor) -> torch.Tensor:
        """Normalised images (N, 3, H, W) -> tokens before the first block."""
        return self._swap_if_needed(self.visual._embeds(images))

    def pool(self, tokens: torch.Tensor) -> torch.Tensor:
        """Tokens after the last block -> embeddings (N, D): final norm, pooling, projection."""
        pooled, _ = self.visual._pool(self._swap_if_needed(tokens))
        return pooled if self.visual.proj is None else pooled @ self.visual.proj

    def feature_map(self, tokens: torch.Tensor) -> torch.Tensor:
        """Tokens after the last block -> map (N, width, h, w) of the patch tokens, after the final norm."""
        tokens = self._swap_if_needed(tokens)
        if self.visual.attn_pool is None:  # with attention pooling the final norm belongs to the pooled tokens
            tokens = self.visual.ln_post(tokens)
        height, width = self.visual.grid_size
        return tokens[:, 1:].transpose(1, 2).reshape(len(tokens), -1, height, width)
