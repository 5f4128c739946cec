"""combine='multi_view': no effect at the start, attention within an object alone, checkpoints, and what is refused."""
import numpy as np
import pytest
import torch
from torch import nn

from helpers.tiny_clip import tiny_clip
from opendlign_mm.models import CLIPDepthBackbone, DepthImageContrastiveHead, OpenDlign
from opendlign_mm.models.checkpoints import load_checkpoint
from opendlign_mm.models.cross_view import CrossViewAttention
from opendlign_mm.models.released import to_released

CLIP = tiny_clip(layers=2)


def model(combine: str = 'multi_view', trained: bool = True, **options) -> OpenDlign:
    """A model whose attention between views has an effect if ``trained``."""
    backbone = CLIPDepthBackbone('small', model_config=CLIP, combine=combine, **options)
    if trained and backbone.cross_view is not None:
        generator = torch.Generator().manual_seed(4)
        with torch.no_grad():
            backbone.cross_view.attention.out_proj.weight.normal_(0, .3, generator=generator)
    return OpenDlign(backbone, DepthImageContrastiveHead()).eval()


def views(objects: int = 3, count: int = 4, seed: int = 0) -> torch.Tensor:
    return torch.rand(objects, count, 32, 32, generator=torch.Generator().manual_seed(seed))


def test_it_starts_as_the_residual_branch_to_the_bit():
    expected = model('residual', num_blocks=2).encode_views(views(), ('pretrained', 'tuned'))
    for name, found in model(trained=False, num_blocks=2).encode_views(views(), ('pretrained', 'tuned')).items():
        assert torch.equal(found, expected[name])


@torch.no_grad()
def test_views_attend_to_those_of_their_object_alone():
    multi, inputs = model(), views()
    before = multi.encode_views(inputs, ('pretrained', 'tuned'))
    changed = inputs.clone()
    changed[1, 2] = 1 - changed[1, 2]
    after = multi.encode_views(changed, ('pretrained', 'tuned'))
    difference = (after['tuned'] - before['tuned']).abs().amax(-1)
    assert (difference[1] > 1e-4).all() and (difference[[0, 2]] < 1e-6).all()
    assert (after['pretrained'] - before['pretrained']).abs().amax(-1)[1, [0, 1, 3]].max() < 1e-6
    order = [2, 0, 3, 1]
    torch.testing.assert_close(multi.encode_views(inputs[:, order], 'tuned'), before['tuned'][:, order])


@torch.no_grad()
@pytest.mark.parametrize('size', [1, 6, 9])
def test_batches_hold_whole_objects(size):
    multi, inputs = model(), views()
    expected = multi.encode_views(inputs, 'tuned')
    multi.encode_batch_size = size
    torch.testing.assert_close(multi.encode_views(inputs, 'tuned'), expected)
    assert multi.encode_views(inputs[:0], 'tuned').shape == (0, 4, 32)
    with torch.enable_grad():
        torch.testing.assert_close(multi.encode_views(inputs, 'tuned'), expected)
    single = multi.encode_views(inputs.reshape(12, 1, 32, 32), 'tuned').reshape(3, 4, -1)
    assert (single - expected).abs().max() > 1e-4


@pytest.mark.parametrize('batch_dim', [0, 1])
def test_the_attention_written_out(batch_dim):
    """Two views of two tokens, one head: softmax of scaled products over all four tokens."""
    torch.manual_seed(0)
    layer = CrossViewAttention(4, nn.Identity())
    nn.init.normal_(layer.attention.out_proj.weight)
    nn.init.normal_(layer.attention.in_proj_bias)
    tokens = torch.randn(2, 2, 4)
    flat = tokens.reshape(4, 4).double().numpy()
    normed = (flat - flat.mean(1, keepdims=True)) / np.sqrt(flat.var(1, keepdims=True) + 1e-5)
    weight, bias = (value.detach().double().numpy() for value in (layer.attention.in_proj_weight,
                                                                  layer.attention.in_proj_bias))
    queries, keys, values = np.split(normed @ weight.T + bias, 3, axis=1)
    weights = np.exp(queries @ keys.T / 2)
    attended = weights / weights.sum(1, keepdims=True) @ values
    expected = (flat + attended @ layer.attention.out_proj.weight.detach().double().numpy().T).reshape(2, 2, 4)
    found = layer(tokens.transpose(0, batch_dim), 2, batch_dim).transpose(0, batch_dim)
    np.testing.assert_allclose(found.detach().numpy(), expected, atol=1e-5)


def test_training_moves_it_and_a_checkpoint_keeps_it():
    multi = model(trained=False).train()
    inputs = dict(depth_views=views(), images=views(seed=1)[:, :, None].repeat(1, 1, 3, 1, 1))
    multi.parse_losses(multi(inputs, mode='loss'))[0].backward()
    assert multi.backbone.cross_view.attention.out_proj.weight.grad.abs().max() > 0
    trained, again = model(), model(trained=False)
    state = {key: value.clone() for key, value in trained.state_dict().items()}
    load_checkpoint(again, dict(state_dict=state), 'multi', 'inference')
    assert torch.equal(again.encode_views(views(), 'tuned'), trained.encode_views(views(), 'tuned'))
    with pytest.raises(RuntimeError, match="'multi_view', the model has 'residual'"):
        load_checkpoint(model('residual'), dict(state_dict=trained.state_dict()), 'multi', 'inference')
    with pytest.raises(RuntimeError, match="'residual', the model has 'multi_view'"):
        load_checkpoint(again, dict(state_dict=model('residual').state_dict()), 'single', 'inference')
    with pytest.raises(ValueError, match='no attention between views'):
        to_released(multi)


def test_bfloat16_is_close():
    expected, found = (model(precision=precision).encode_views(views(), 'tuned') for precision in ('fp32', 'bf16'))
    assert torch.cosine_similarity(expected, found, dim=-1).min() > .999


@pytest.mark.parametrize('options', [
    dict(num_blocks=0), dict(output='feature_map'),
    dict(model_config=dict(CLIP, vision_cfg=dict(image_size=32, layers=(1, 1, 1, 1), width=8)))])
def test_where_it_cannot_be_it_is_refused(options):
    with pytest.raises(ValueError, match="combine='multi_view' needs a tuned branch of a vision transformer"):
        CLIPDepthBackbone('small', **dict(dict(model_config=CLIP), combine='multi_view', **options))


def test_views_that_make_no_whole_objects_are_refused():
    with pytest.raises(ValueError, match='5 views are not those of objects with 2 views each'):
        model().backbone(torch.rand(5, 3, 32, 32), num_views=2)
