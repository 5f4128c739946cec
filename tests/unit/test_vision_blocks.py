"""Packed blocks compute what open_clip's own block computes, whole and for the class token alone, with gradients."""
import copy

import pytest
import torch
import torch.nn.functional as F
from open_clip.transformer import QuickGELU, ResidualAttentionBlock

from opendlign_mm.models.clip_backbone import CLIPDepthBackbone
from opendlign_mm.models.vision_blocks import ClassTokenOfBlock, PackedBlock, can_be_packed


def block_and_tokens(batch_first: bool = True, **options) -> tuple[ResidualAttentionBlock, torch.Tensor]:
    """A block of random weights and biases, which start at 0 otherwise, and tokens of 3 images."""
    torch.manual_seed(0)
    block = ResidualAttentionBlock(24, 3, batch_first=batch_first, **options).eval()
    for parameter in block.parameters():
        torch.nn.init.normal_(parameter, std=.3)
    return block, torch.randn(3, 7, 24) if batch_first else torch.randn(7, 3, 24)


@pytest.mark.parametrize('options', [dict(), dict(batch_first=False), dict(ls_init_value=.1, act_layer=QuickGELU)])
def test_packed_blocks_have_the_results_and_gradients_of_the_block(options):
    block, tokens = block_and_tokens(**options)
    dim = 0 if options.get('batch_first') is False else 1
    for packed, number in ((PackedBlock, 7), (ClassTokenOfBlock, 1)):
        one, other = copy.deepcopy(block), copy.deepcopy(block)
        expected, found = one(tokens).narrow(dim, 0, number), packed(other)(tokens)
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
        for result in (expected, found):
            result.square().sum().backward()
        for name, parameter in one.named_parameters():
            torch.testing.assert_close(other.get_parameter(name).grad, parameter.grad, atol=1e-3, rtol=1e-4, msg=name)


def test_trained_and_frozen_blocks_take_the_fused_attention_of_pytorch(tiny_clip_config, monkeypatch):
    """Three frozen blocks and a trained one, of which the last two compute the class token alone."""
    attend, queries = F.scaled_dot_product_attention, []
    monkeypatch.setattr(F, 'scaled_dot_product_attention', lambda query, *others, **options: queries.append(
        query.shape[2]) or attend(query, *others, **options))
    backbone = CLIPDepthBackbone('ViT-B-32', None, copy.deepcopy(tiny_clip_config)).train()
    backbone(torch.rand(2, 3, 32, 32), ('tuned', ))['tuned'].sum().backward()
    assert queries == [17, 17, 1, 1]


def test_hooks_of_a_block_are_called(tiny_clip_config):
    backbone = CLIPDepthBackbone('ViT-B-32', None, copy.deepcopy(tiny_clip_config))
    views = torch.rand(2, 3, 32, 32)
    expected, seen = backbone(views), []
    block = backbone.tower.blocks[1]
    handle = block.register_forward_hook(lambda module, inputs, output: seen.append(output.shape))
    torch.testing.assert_close(backbone(views), expected, atol=1e-5, rtol=1e-5)
    assert seen == [(2, 17, 64)] and not can_be_packed(block)
    handle.remove()
    assert can_be_packed(block) and not can_be_packed(torch.nn.Identity())
