"""Where the time of a transformer block goes on a GPU: products, attention by each kernel, norms, activation."""
from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from .limits import count_operations, least_seconds
from .measuring import Row, Settings, median_seconds

# ViT-H-14: views of a pass, tokens of a view, width, heads.
SIZES = (256, 257, 1280, 16)
_KERNELS = dict(flash=SDPBackend.FLASH_ATTENTION, cudnn=SDPBackend.CUDNN_ATTENTION,
                efficient=SDPBackend.EFFICIENT_ATTENTION)


@torch.inference_mode()
def parts_of_block(settings: Settings) -> Iterator[Row]:
    """Measure the parts of a block of ViT-H-14 in bfloat16, each alone; their sum is what an uncompiled block takes."""
    views, length, width, heads = settings.pick(SIZES, (2, 9, 32, 2))
    options: dict[str, Any] = dict(device=settings.device, dtype=torch.bfloat16)
    tokens = torch.randn(views, length, width, **options)
    hidden, parts = torch.randn(views, length, 4 * width, **options), torch.randn(views, length, 3 * width, **options)
    weights = {name: .02 * torch.randn(rows, columns, **options) for name, (rows, columns) in dict(
        qkv=(3 * width, width), out=(width, width), widen=(4 * width, width), narrow=(width, 4 * width)).items()}
    query, key, value = parts.unflatten(-1, (3, heads, -1)).permute(2, 0, 3, 1, 4).unbind(0)
    bias, scale = torch.randn(4 * width, **options), torch.ones(width, **options)

    def row(what: str, call: Callable, operations: float = 0, moved: float = 0, facts: dict | None = None) -> Row:
        seconds = median_seconds(call, settings)
        limit = least_seconds(settings.device, torch.bfloat16, operations, moved, settings.quick)
        return Row('encode', f'block of ViT-H-14, {what}', seconds / views, 'view', 'bfloat16', limit_seconds=limit
                   / views, facts=facts or {})

    for name, weight in weights.items():
        inputs = hidden if name == 'narrow' else tokens
        yield row(f'product {name}', lambda inputs=inputs, weight=weight: F.linear(inputs, weight, bias[:len(weight)]),
                  2 * views * length * weight.numel())
    attention = count_operations(lambda: F.scaled_dot_product_attention(query, key, value))
    yield row('attention', lambda: F.scaled_dot_product_attention(query, key, value), attention,
              facts={f'{name}_seconds_of_a_view': seconds / views for name, kernel in _KERNELS.items()
                     if (seconds := _seconds_by(kernel, query, key, value, settings)) is not None})
    bytes_of_tokens = tokens.numel() * tokens.element_size()
    yield row('norm', lambda: F.layer_norm(tokens, (width, ), scale, bias[:width]), moved=2 * bytes_of_tokens)
    yield row('sum', lambda: tokens + tokens, moved=2 * bytes_of_tokens)
    yield row('quick GELU', lambda: hidden * torch.sigmoid(1.702 * hidden), moved=8 * bytes_of_tokens)


def _seconds_by(kernel: SDPBackend, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, settings: Settings
                ) -> float | None:
    """Return the seconds of attention by a kernel of PyTorch, None where the device does not have it."""
    try:
        with sdpa_kernel(kernel):
            return median_seconds(lambda: F.scaled_dot_product_attention(query, key, value), settings)
    except RuntimeError:
        return None
