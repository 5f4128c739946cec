"""The trainable copy of a tower's last blocks (OpenDlign, section 3.2)."""
import copy
from typing import List, Sequence

from torch import nn


def attention_projections(block: nn.Module) -> List[nn.Parameter]:
    """Weights and biases of the in- and out-projection of a block's attention: what OpenDlign trains."""
    # in_proj, out_proj in PyTorch and open_clip; qkv, proj in timm.
    return [parameter for name, parameter in block.attn.named_parameters()
            if name.startswith(('in_proj', 'out_proj', 'qkv.', 'proj.'))]


def trainable_copy(blocks: Sequence[nn.Module], copy_init: str = 'pretrained',
                   trainable: str = 'attention') -> nn.ModuleList:
    """Copy transformer blocks and make part of the copy trainable.

    Args:
        blocks: The blocks T_{L-k+1..L} to copy; they stay as they are.
        copy_init: ``'pretrained'``: start from the blocks' weights. ``'random'``: what is trained starts anew (the
            rest keeps the blocks' weights), the paper's ablation of the initialisation.
        trainable: ``'attention'``: in- and out-projection of the attention only. ``'all'``: the whole blocks.

    Raises:
        ValueError: an option that does not exist.
    """
    if copy_init not in ('pretrained', 'random'):
        raise ValueError(f"copy_init must be 'pretrained' or 'random', got {copy_init!r}")
    if trainable not in ('attention', 'all'):
        raise ValueError(f"trainable must be 'attention' or 'all', got {trainable!r}")
    copies = nn.ModuleList(copy.deepcopy(block) for block in blocks)
    for block in copies:
        block.requires_grad_(False)
        parameters = attention_projections(block) if trainable == 'attention' else list(block.parameters())
        for parameter in parameters:
            parameter.requires_grad_(True)
        if copy_init == 'random':
            if trainable == 'all':
                for layer in block.modules():
                    if isinstance(layer, (nn.Linear, nn.LayerNorm)):
                        layer.reset_parameters()
            _initialise_projections(block)
    return copies


def _initialise_projections(block: nn.Module) -> None:
    """In- and out-projection as ``nn.MultiheadAttention`` initialises them."""
    for parameter in attention_projections(block):
        if parameter.ndim > 1:
            nn.init.xavier_uniform_(parameter)
        else:
            nn.init.zeros_(parameter)
