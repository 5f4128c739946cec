"""Trainable copies of transformer blocks."""
import copy
from collections.abc import Sequence
from typing import Literal, get_args

from torch import nn

CopyInit = Literal['pretrained', 'random', 'random_block']
Trainable = Literal['attention', 'all']


def attention_projections(block: nn.Module) -> list[nn.Parameter]:
    """Return the weights and biases of the in- and out-projection of a block's attention, which OpenDlign trains."""
    # in_proj, out_proj in PyTorch and open_clip; qkv or q_proj, k_proj, v_proj, and proj, in timm. The last names are
    # those of the attention pool of a ResNet.
    names = ('attn.in_proj', 'attn.out_proj', 'attn.qkv.', 'attn.proj.', 'attn.q_proj.', 'attn.k_proj.', 'attn.v_proj.',
             'attn.q_bias', 'attn.k_bias', 'attn.v_bias',
             'q_proj.', 'k_proj.', 'v_proj.', 'c_proj.')
    return [parameter for name, parameter in block.named_parameters() if name.startswith(names)]


def trainable_copy(blocks: Sequence[nn.Module], copy_init: CopyInit = 'pretrained',
                   trainable: Trainable = 'attention') -> nn.ModuleList:
    """Copy transformer blocks and make part of the copy trainable.

    Args:
        blocks: Blocks T_{L-k+1..L} to copy; they are not changed.
        copy_init: ``'pretrained'``: the copy starts from the blocks' weights. ``'random'``: its trained parameters are
            initialized at random, the others keep the blocks' weights. ``'random_block'``: all are.
        trainable: ``'attention'``: in- and out-projection of the attention only. ``'all'``: the whole blocks.

    Raises:
        ValueError: An option does not exist.
    """
    if copy_init not in get_args(CopyInit):
        raise ValueError(f'copy_init must be one of {", ".join(get_args(CopyInit))}, got {copy_init!r}')
    if trainable not in ('attention', 'all'):
        raise ValueError(f"trainable must be 'attention' or 'all', got {trainable!r}")
    copies = nn.ModuleList(copy.deepcopy(block) for block in blocks)
    for block in copies:
        block.requires_grad_(False)
        parameters = attention_projections(block) if trainable == 'attention' else list(block.parameters())
        for parameter in parameters:
            parameter.requires_grad_(True)
        if copy_init != 'pretrained':
            if trainable == 'all' or copy_init == 'random_block':
                for layer in block.modules():
                    if isinstance(layer, (nn.Linear, nn.LayerNorm)):
                        layer.reset_parameters()
            _initialize_projections(block)
    return copies


def _initialize_projections(block: nn.Module) -> None:
    """Initialize the in- and out-projection as ``nn.MultiheadAttention`` does."""
    for parameter in attention_projections(block):
        if parameter.ndim > 1:
            nn.init.xavier_uniform_(parameter)
        else:
            nn.init.zeros_(parameter)
