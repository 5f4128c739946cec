"""Weights of the released point encoders in the layout of this project, and back."""
import re
from collections.abc import Callable, Mapping

from torch import Tensor, nn

from .point_bert import PointBERT
from .point_patch_transformer import PointPatchTransformer
from .sparse_resnet import SparseResNet

StateDict = dict[str, Tensor]
Rules = list[tuple[str, str | Callable[[re.Match[str]], str]]]

_PATCH_LAYERS = ('convs', 'bns')
# (our key, the released one), tried in this order; a function computes indices that differ.
_POINT_BERT: Rules = [(r'projection$', 'pc_projection'), (r'group_encoder\.', 'point_encoder.encoder.'),
                      (r'blocks\.', 'point_encoder.blocks.blocks.'), (r'', 'point_encoder.')]
_PATCHES: Rules = [(r'projection\.', 'proj.'), (r'cls_token$', 'ppat.cls_token'),
                   (r'lift\.', 'ppat.lift.0.'), (r'lift_norm\.', 'ppat.lift.2.'),
                   (r'patch_mlp\.(\d+)\.', lambda m: f'ppat.sa.mlp_{_PATCH_LAYERS[int(m[1]) % 3]}.{int(m[1]) // 3}.'),
                   (r'blocks\.(\d+)\.norm1\.', r'ppat.transformer.layers.\1.0.norm.'),
                   (r'blocks\.(\d+)\.attn\.qkv\.', r'ppat.transformer.layers.\1.0.fn.to_qkv.'),
                   (r'blocks\.(\d+)\.attn\.proj\.', r'ppat.transformer.layers.\1.0.fn.to_out.0.'),
                   (r'blocks\.(\d+)\.norm2\.', r'ppat.transformer.layers.\1.1.norm.'),
                   (r'blocks\.(\d+)\.mlp\.fc1\.', r'ppat.transformer.layers.\1.1.fn.net.0.'),
                   (r'blocks\.(\d+)\.mlp\.fc2\.', r'ppat.transformer.layers.\1.1.fn.net.3.')]
_SPARSE: Rules = [(r'stem\.conv\.', 'conv0p1s1.'), (r'stem\.norm\.', 'bn0.bn.'),
                  (r'downsamplings\.(\d)\.conv\.', lambda m: f'conv{int(m[1]) + 1}p{2**int(m[1])}s2.'),
                  (r'downsamplings\.(\d)\.norm\.', lambda m: f'bn{int(m[1]) + 1}.bn.'),
                  (r'stages\.(\d)\.(\d+)\.(first|second|shortcut)\.(conv|norm)\.', lambda m: _block_key(*m.groups())),
                  (r'joint\.(\d)\.conv\.', r'conv5.\1.0.'), (r'joint\.(\d)\.norm\.', r'conv5.\1.1.bn.'),
                  (r'head\.0\.', 'final.0.0.linear.'), (r'head\.1\.', 'final.0.1.bn.'),
                  (r'head\.4\.', 'final.2.0.linear.'), (r'head\.5\.', 'final.2.1.bn.'),
                  (r'head\.7\.', 'final.3.linear.')]


def _block_key(stage: str, block: str, part: str, kind: str) -> str:
    if part == 'shortcut':
        name = 'downsample.0' if kind == 'conv' else 'downsample.1.bn'
    else:
        number = 1 if part == 'first' else 2
        name = f'conv{number}' if kind == 'conv' else f'norm{number}.bn'
    return f'block{int(stage) + 1}.{block}.{name}.'


def released_key(encoder: nn.Module, key: str) -> str:
    """Return the name that the release gives to entry ``key`` of the encoder's state dict.

    Raises:
        TypeError: No release has this kind of encoder.
    """
    for kind, rules in ((PointBERT, _POINT_BERT), (PointPatchTransformer, _PATCHES), (SparseResNet, _SPARSE)):
        if isinstance(encoder, kind):
            for pattern, replacement in rules:
                if re.match(pattern, key):
                    return re.sub(pattern, replacement, key, count=1)
    raise TypeError(f'{type(encoder).__name__} has no entry {key} in any release')


def from_released_encoder(released: Mapping[str, Tensor], encoder: nn.Module) -> tuple[StateDict, list[str]]:
    """Rename the entries of a released point encoder.

    Args:
        released: Entries of ULIP (``point_encoder.*`` and ``pc_projection``), OpenShape or TAMM, with or without the
            prefixes ``module.`` and ``pc_encoder.``; OpenShape's file for ViT-B-32 also lacks ``ppat.``.
        encoder: The encoder that the entries are for.

    Returns:
        Its state dict, and the names of the entries that have no place in it.

    Raises:
        ValueError: An entry of the encoder is missing, or has another shape; the message names them.
    """
    stripped = {re.sub(r'^(module\.|pc_encoder\.)+', '', key): (key, value) for key, value in released.items()}
    if isinstance(encoder, PointPatchTransformer) and not any(key.startswith('ppat.') for key in stripped):
        stripped = {key if key.startswith('proj.') else f'ppat.{key}': entry for key, entry in stripped.items()}
    converted, missing = {}, []
    for key, value in encoder.state_dict().items():
        source, entry = stripped.pop(released_key(encoder, key), (None, None))
        if entry is None:
            missing.append(released_key(encoder, key))
        elif entry.shape != value.shape:
            missing.append(f'{source} {tuple(entry.shape)} instead of {tuple(value.shape)}')
        else:
            converted[key] = entry
    if missing:
        more = f' and {len(missing) - 6} more' if len(missing) > 6 else ''
        raise ValueError(f'the checkpoint does not fit a {type(encoder).__name__} of these settings; missing or of '
                         f'another shape: {", ".join(missing[:6])}{more}')
    return converted, [key for key, _ in stripped.values()]


def to_released_encoder(encoder: nn.Module, prefix: str = 'module.') -> StateDict:
    """Return the state dict of an encoder under the names of the release."""
    return {prefix + released_key(encoder, key): value for key, value in encoder.state_dict().items()}
