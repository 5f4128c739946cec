"""Attention of the views of an object to each other, in front of the tuned blocks of a CLIP."""
import torch
import torch.nn.functional as F
from torch import nn


class CrossViewAttention(nn.Module):
    """Attention over the tokens of all views of an object, added to them; it starts as no change at all.

    x + W attention(norm(x)), where the views of an object are one sequence and W is 0 at the start. Norm, queries, keys
    and values start as those of the block in front of which it stands, where that is one of open_clip, otherwise at
    random. The views have no order: exchanging two exchanges their results.

    Args:
        width: Number of channels of a token.
        block: The block in front of which it stands; it is not changed.
        random_seed: Seed of what starts at random, the same in each process.
    """

    def __init__(self, width: int, block: nn.Module, random_seed: int = 0) -> None:
        super().__init__()
        source = getattr(block, 'attn', None)
        heads = getattr(source, 'num_heads', 1)
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(random_seed)
            self.norm = nn.LayerNorm(width)
            self.attention = nn.MultiheadAttention(width, heads, batch_first=True)
        norm = getattr(block, 'ln_1', None)
        if isinstance(source, nn.MultiheadAttention) and isinstance(norm, nn.LayerNorm):
            self.norm.load_state_dict(norm.state_dict())
            with torch.no_grad():
                self.attention.in_proj_weight.copy_(source.in_proj_weight)
                self.attention.in_proj_bias.copy_(source.in_proj_bias)
        nn.init.zeros_(self.attention.out_proj.weight)
        nn.init.zeros_(self.attention.out_proj.bias)

    def forward(self, tokens: torch.Tensor, num_views: int, batch_dim: int = 0) -> torch.Tensor:
        """Let the views of each object attend to each other.

        Args:
            tokens: (N, L, width), or (L, N, width) with ``batch_dim=1``; the views of an object follow each other.
            num_views: Number of views of an object V; N is a multiple of it.
            batch_dim: Dimension of the views.

        Returns:
            The tokens in their shape.
        """
        views = tokens.transpose(0, batch_dim)
        objects = views.reshape(len(views) // num_views, -1, views.shape[-1])
        weight, bias = self.norm.weight.to(objects.dtype), self.norm.bias.to(objects.dtype)
        normed = F.layer_norm(objects, self.norm.normalized_shape, weight, bias, self.norm.eps)
        added = self.attention(normed, normed, normed, need_weights=False)[0]
        return (objects + added).reshape(views.shape).transpose(0, batch_dim)
