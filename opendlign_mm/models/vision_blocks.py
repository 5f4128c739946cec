"""Blocks of open_clip's vision transformers by packed projections and fused attention: whole, or the class token."""
import torch
import torch.nn.functional as F
from open_clip.transformer import ResidualAttentionBlock
from torch import nn


def can_be_packed(block: nn.Module) -> bool:
    """Return whether a block is one of open_clip that nothing watches: hooks of its own are called by it alone."""
    return type(block) is ResidualAttentionBlock and not (block._forward_hooks or block._forward_pre_hooks)


class PackedBlock(nn.Module):
    """A block of open_clip's ``VisionTransformer``: queries, keys and values by one product, attention on views of it.

    ``nn.MultiheadAttention`` copies queries, keys and values into another order, which costs more than the attention
    itself, but for cases without gradients that its own fast path covers.

    Args:
        block: The block, whose parameters are used and not copied.
    """

    def __init__(self, block: ResidualAttentionBlock) -> None:
        super().__init__()
        self.block = block

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Turn tokens (N, L, width), or (L, N, width) where the block is not batch first, into tokens of that shape."""
        block = self.block
        query, key, value = self._heads(block.ln_1(tokens), 0, 3)
        return self._finish(tokens, F.scaled_dot_product_attention(query, key, value))

    def _heads(self, normed: torch.Tensor, first: int, last: int) -> tuple[torch.Tensor, ...]:
        """Project tokens to the parts first <= i < last of queries, keys, values: each (N, heads, L, width/heads)."""
        attention = self.block.attn
        width, heads = attention.embed_dim, attention.num_heads
        rows = slice(first * width, last * width)
        parts = F.linear(normed, attention.in_proj_weight[rows], attention.in_proj_bias[rows])
        parts = parts.unflatten(-1, (last - first, heads, width // heads))
        return parts.permute(2, *((0, 3, 1) if attention.batch_first else (1, 3, 0)), 4).unbind(0)

    def _finish(self, tokens: torch.Tensor, attended: torch.Tensor) -> torch.Tensor:
        """Add what heads (N, heads, L, width/heads) attended to, and the MLP, to tokens."""
        block = self.block
        merged = attended.permute((0, 2, 1, 3) if block.attn.batch_first else (2, 0, 1, 3)).flatten(-2)
        tokens = tokens + block.ls_1(block.attn.out_proj(merged))
        return tokens + block.ls_2(block.mlp(block.ln_2(tokens)))


class ClassTokenOfBlock(PackedBlock):
    """The class token after a block of open_clip's ``VisionTransformer``, from all tokens before it.

    The class token attends to all tokens, but no other token needs queries, attention and MLP of its own.

    Args:
        block: The block, whose parameters are used and not copied.
    """

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Turn tokens (N, L, width), or (L, N, width), into (N, 1, width), or (1, N, width)."""
        dim = 1 if self.block.attn.batch_first else 0
        normed = self.block.ln_1(tokens)
        (query, ), (key, value) = self._heads(normed.narrow(dim, 0, 1), 0, 1), self._heads(normed, 1, 3)
        return self._finish(tokens.narrow(dim, 0, 1), F.scaled_dot_product_attention(query, key, value))
