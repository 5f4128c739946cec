"""CLIPDepthBackbone: both branches, what is trained, how a CLIP is found, and its errors."""
import json
import re

import open_clip
import pytest
import torch

from opendlign_mm.models import CLIPDepthBackbone
from opendlign_mm.models.clip_loading import save_compact_clip
from opendlign_mm.models.pixels import resolve_pixel_statistics


def small(config, **options) -> CLIPDepthBackbone:
    return CLIPDepthBackbone('small', model_config=config, **options)


@pytest.fixture
def views() -> torch.Tensor:
    return torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(1))


def perturb(backbone: CLIPDepthBackbone) -> None:
    """Move T' away from T, as training does."""
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in backbone.parameters():
            if parameter.requires_grad:
                parameter += 0.05 * torch.randn(parameter.shape, generator=generator).to(parameter)


# ---------------------------------------------------------------- what is computed
def test_pretrained_branch_is_clip_and_tuned_starts_there(tiny_clip_config, views, device):
    backbone, views = small(tiny_clip_config).to(device), views.to(device)
    both = backbone(views)
    assert set(both) == {'pretrained', 'tuned'}
    mean = torch.tensor([0.485, 0.456, 0.406], device=device).view(3, 1, 1)
    std = torch.tensor([0.229, 0.224, 0.225], device=device).view(3, 1, 1)
    expected = backbone.clip.encode_image((views - mean) / std)
    assert both['pretrained'].shape == (3, 48) and both['pretrained'].dtype == torch.float32
    torch.testing.assert_close(both['pretrained'], expected, atol=1e-5, rtol=1e-5)
    # 1/2 T + 1/2 T' with T' = T is T.
    torch.testing.assert_close(both['tuned'], expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize('num_blocks', [1, 2, 3])
@pytest.mark.parametrize('combine', ['residual', 'direct', 'shared'])
def test_tuned_branch_follows_the_equation(tiny_clip_config, views, num_blocks, combine):
    backbone = small(tiny_clip_config, num_blocks=num_blocks, combine=combine, pixel_mean=None)
    perturb(backbone)
    visual = backbone.clip.visual
    tokens = visual._embeds(views)
    for block in visual.transformer.resblocks[:3 - num_blocks]:
        tokens = block(tokens)
    frozen, tuned = tokens, tokens
    for block in visual.transformer.resblocks[3 - num_blocks:]:
        frozen = block(frozen)
    for block in backbone.tuned_blocks:
        tuned = block(tuned)
    end = (frozen + tuned) / 2 if combine == 'residual' else tuned
    expected = visual.ln_post(end)[:, 0] @ visual.proj
    actual = backbone(views, ('tuned', ))
    assert set(actual) == {'tuned'}
    torch.testing.assert_close(actual['tuned'], expected, atol=1e-5, rtol=1e-5)
    assert (backbone(views)['tuned'] - backbone(views)['pretrained']).abs().max() > 1e-3


@pytest.mark.parametrize('num_blocks', [1, 2, 4])
def test_stacked_blocks_repeat_the_last_one(tiny_clip_config, views, num_blocks):
    backbone = small(tiny_clip_config, num_blocks=1, pixel_mean=None)
    if num_blocks == 1:
        torch.testing.assert_close(small(tiny_clip_config, stacked=True, pixel_mean=None)(views), backbone(views))
        return
    backbone = small(tiny_clip_config, num_blocks=min(num_blocks, 3), stacked=True, pixel_mean=None)
    *_, second_last, last = backbone.clip.visual.transformer.resblocks
    first, *rest = backbone.clip.visual.transformer.resblocks
    before = second_last(first(backbone.clip.visual._embeds(views)))
    repeated = before
    for _ in backbone.tuned_blocks:
        repeated = last(repeated)
    expected = backbone.clip.visual.ln_post((last(before) + repeated) / 2)[:, 0] @ backbone.clip.visual.proj
    torch.testing.assert_close(backbone(views)['tuned'], expected, atol=1e-5, rtol=1e-5)


def test_one_pass_of_the_trunk_serves_both_branches(tiny_clip_config, views):
    backbone, calls = small(tiny_clip_config), []
    for index, block in enumerate(backbone.clip.visual.transformer.resblocks):
        block.mlp.register_forward_hook(lambda *_, index=index: calls.append(index))
    backbone(views, ('pretrained', 'tuned'))
    assert calls == [0, 1, 2]
    calls.clear()
    backbone.combine = 'direct'
    backbone(views, ('tuned', ))
    assert calls == [0, 1], 'direct tuning alone does not need the frozen last block'


def test_towers_that_are_not_batch_first(tiny_clip_config, views):
    batch_first, sequence_first = small(tiny_clip_config), small(tiny_clip_config)
    transformer = sequence_first.clip.visual.transformer
    transformer.batch_first = False
    for block in [*transformer.resblocks, *sequence_first.tuned_blocks]:
        block.attn.batch_first = False
    perturb(batch_first)
    sequence_first.tuned_blocks.load_state_dict(batch_first.tuned_blocks.state_dict())
    for branch, value in batch_first(views).items():
        torch.testing.assert_close(sequence_first(views)[branch], value, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize('vision', [dict(qk_norm=True), dict(attentional_pool=True, attn_pooler_heads=2),
                                    dict(pool_type='avg', final_ln_after_pool=True), dict(no_ln_pre=True)])
def test_variants_of_open_clip_vits(tiny_clip_config, views, vision):
    tiny_clip_config['vision_cfg'].update(vision)
    backbone = small(tiny_clip_config, pixel_mean=None)
    both = backbone(views)
    torch.testing.assert_close(both['pretrained'], backbone.clip.encode_image(views), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(both['tuned'], both['pretrained'], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize('pool, projection', [('map', 'none'), ('token', 'linear'), ('avg', 'mlp')])
def test_vits_of_timm(tiny_clip_config, pool, projection):
    """SigLIP and others are ViTs too, written in timm."""
    tiny_clip_config['vision_cfg'] = dict(image_size=160, timm_model_name='test_vit', timm_pool=pool,
                                          timm_proj=projection)
    tiny_clip_config['embed_dim'] = 64
    views = torch.rand(2, 3, 160, 160)
    backbone = small(tiny_clip_config, pixel_mean=None, num_blocks=2)
    both = backbone(views)
    torch.testing.assert_close(both['pretrained'], backbone.clip.encode_image(views), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(both['tuned'], both['pretrained'], atol=1e-5, rtol=1e-5)
    width = backbone.out_channels
    assert sum(p.numel() for p in backbone.parameters() if p.requires_grad) == 2 * (4 * width * width + 4 * width)
    perturb(backbone)
    both = backbone(views)
    assert (both['tuned'] - both['pretrained']).abs().max() > 1e-3
    both['tuned'].sum().backward()
    assert backbone.tuned_blocks[0].attn.qkv.weight.grad.abs().max() > 0
    backbone.output = 'feature_map'
    assert backbone(views)[0].shape == (2, width, 10, 10)
    random = small(tiny_clip_config, copy_init='random')
    assert not torch.equal(random.tuned_blocks[0].attn.proj.weight, random.source_blocks()[0].attn.proj.weight)


def test_quick_gelu_of_the_configuration_is_used(tiny_clip_config, views):
    plain = small(tiny_clip_config)(views)['pretrained']
    quick = small(dict(tiny_clip_config, quick_gelu=True))(views)['pretrained']
    assert (plain - quick).abs().max() > 1e-4


def test_no_views_give_no_embeddings(tiny_clip_config):
    assert small(tiny_clip_config)(torch.zeros(0, 3, 32, 32))['tuned'].shape == (0, 48)


# ---------------------------------------------------------------- training
@pytest.mark.parametrize('trainable, expected', [
    ('attention', 4 * 64 * 64 + 4 * 64),
    ('all', 4 * 64 * 64 + 4 * 64 + 8 * 64 * 64 + 5 * 64 + 4 * 64),
])
def test_gradient_reaches_what_is_trained_and_nothing_else(tiny_clip_config, views, device, trainable, expected):
    backbone = small(tiny_clip_config, trainable=trainable).to(device).train()
    both = backbone(views.to(device))
    assert not both['pretrained'].requires_grad
    both['tuned'].square().sum().backward()
    with_gradient = {name: p for name, p in backbone.named_parameters() if p.grad is not None}
    assert all(name.startswith('tuned_blocks.0.') for name in with_gradient)
    assert sum(p.numel() for p in with_gradient.values()) == expected
    assert sum(p.numel() for p in backbone.parameters() if p.requires_grad) == expected
    # Keys' bias has no influence on a softmax; every other part has a gradient.
    assert all(p.grad.abs().max() > 0 for p in with_gradient.values())


def test_no_graph_is_kept_of_the_trunk(tiny_clip_config, views):
    backbone, saved = small(tiny_clip_config).train(), []
    for block in backbone.clip.visual.transformer.resblocks:
        block.mlp.register_forward_hook(lambda module, inputs, output: saved.append(output.requires_grad))
    views.requires_grad_(True)
    backbone(views)
    assert saved == [False, False, False]


def test_freezing_survives_train(tiny_clip_config):
    tiny_clip_config['vision_cfg']['patch_dropout'] = 0.5
    backbone = small(tiny_clip_config).train()
    assert backbone.training and backbone.tuned_blocks.training
    assert not any(module.training for module in backbone.clip.modules())
    assert not any(p.requires_grad for p in backbone.clip.parameters())
    backbone.init_weights()  # the Runner calls it before training
    assert not any(p.requires_grad for p in backbone.clip.parameters())


def test_bf16_autocast(tiny_clip_config, views, device):
    backbone, views = small(tiny_clip_config).to(device).train(), views.to(device)
    exact = backbone(views)['tuned']
    with torch.autocast(device.type, dtype=torch.bfloat16):
        rounded = backbone(views)['tuned']
        text = backbone.encode_text(['a chair'])
    assert text.dtype == torch.float32
    assert torch.nn.functional.cosine_similarity(exact, rounded.float()).min() > 0.999
    rounded.float().square().sum().backward()
    gradient = backbone.tuned_blocks[0].attn.out_proj.weight.grad
    assert gradient.dtype == torch.float32 and gradient.isfinite().all() and gradient.abs().max() > 0


def test_a_random_block_is_random_beyond_what_is_trained(tiny_clip_config):
    backbone = small(tiny_clip_config, copy_init='random_block')
    block, source = backbone.tuned_blocks[0], backbone.clip.visual.transformer.resblocks[-1]
    for own, copied in ((block.attn.in_proj_weight, source.attn.in_proj_weight),
                        (block.mlp.c_fc.weight, source.mlp.c_fc.weight)):
        assert (own - copied).abs().max() > 1e-3
    trained = sum(parameter.numel() for parameter in backbone.parameters() if parameter.requires_grad)
    assert trained == sum(parameter.numel() for parameter in source.attn.parameters())
    # A checkpoint keeps the random parameters that are not trained.
    other = small(tiny_clip_config, copy_init='random_block')
    assert not torch.equal(other.tuned_blocks[0].mlp.c_fc.weight, block.mlp.c_fc.weight)
    other.load_state_dict(backbone.state_dict())
    assert torch.equal(other.tuned_blocks[0].mlp.c_fc.weight, block.mlp.c_fc.weight)


def test_random_copy_starts_anew(tiny_clip_config, views):
    backbone = small(tiny_clip_config, copy_init='random')
    block, source = backbone.tuned_blocks[0], backbone.clip.visual.transformer.resblocks[-1]
    assert (block.attn.in_proj_weight - source.attn.in_proj_weight).abs().max() > 1e-3
    assert (block.attn.out_proj.weight - source.attn.out_proj.weight).abs().max() > 1e-3
    assert torch.equal(block.mlp.c_fc.weight, source.mlp.c_fc.weight)
    both = backbone(views)
    assert (both['tuned'] - both['pretrained']).abs().max() > 1e-3


@pytest.mark.parametrize('name, parameters', [('ViT-B-16', 2_362_368), ('ViT-L-14-quickgelu', 4_198_400),
                                              ('ViT-H-14-quickgelu', 6_558_720)])
def test_trainable_parameters_of_large_models(name, parameters):
    with torch.device('meta'):
        backbone = CLIPDepthBackbone(name, pretrained=None)
    assert sum(p.numel() for p in backbone.parameters() if p.requires_grad) == parameters
    assert sum(v.numel() for k, v in backbone.state_dict().items() if k != 'clip_identity') == parameters


# ---------------------------------------------------------------- text
def test_text_tower_is_clips_own(tiny_clip_config, device):
    backbone = small(tiny_clip_config).to(device)
    texts = ['a depth map of a chair', 'a table']
    tokens = open_clip.SimpleTokenizer(context_length=77)(texts).to(device)
    torch.testing.assert_close(backbone.encode_text(texts), backbone.clip.encode_text(tokens), atol=1e-5, rtol=1e-5)
    names = [name for name, _ in backbone.named_parameters() if 'token_embedding' in name]
    assert names == ['clip.token_embedding.weight']


def test_context_length_of_the_configuration(tiny_clip_config):
    tiny_clip_config['text_cfg']['context_length'] = 16
    assert small(tiny_clip_config).encode_text(['a chair ' * 40]).shape == (1, 48)


# ---------------------------------------------------------------- other towers
EVA = dict(image_size=224, timm_model_name='eva02_tiny_patch14_224', timm_pool='token', timm_proj='linear')
RELATIVE = dict(image_size=224, timm_model_name='vit_relpos_small_patch16_224', timm_pool='avg', timm_proj='linear')
RESNET = dict(image_size=64, layers=[1, 1, 1, 1], width=8, head_width=8, patch_size=None)


@pytest.mark.parametrize('vision, trained', [
    (EVA, 4 * 192 * 192 + 3 * 192),  # keys have no bias
    (RELATIVE, 4 * 384 * 384 + 384),  # only the output has one
    (RESNET, 3 * (256 * 256 + 256) + 48 * 256 + 48)], ids=['rotary', 'relative', 'attention pool'])
def test_other_attention_has_a_tuned_branch(tiny_clip_config, vision, trained):
    tiny_clip_config['vision_cfg'] = vision
    backbone = small(tiny_clip_config, pixel_mean=None)
    for module in backbone.modules():
        if type(module).__name__ == 'LayerScale':  # starts at 1e-5, which hides what a block does
            module.gamma.data.fill_(1)
    views = torch.rand(2, 3, vision['image_size'], vision['image_size'])
    both = backbone(views)
    torch.testing.assert_close(both['pretrained'], backbone.clip.encode_image(views), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(both['tuned'], both['pretrained'], atol=1e-5, rtol=1e-4)
    parameters = [parameter for parameter in backbone.parameters() if parameter.requires_grad]
    assert sum(parameter.numel() for parameter in parameters) == trained
    both['tuned'].square().sum().backward()
    assert all(parameter.grad is not None and parameter.grad.isfinite().all() for parameter in parameters)
    perturb(backbone)
    assert (backbone(views)['tuned'] - both['pretrained']).abs().max() > 1e-3
    stored = {name for name in backbone.state_dict() if name != 'clip_identity'}
    assert stored >= {name for name, parameter in backbone.named_parameters() if parameter.requires_grad}


@pytest.mark.parametrize('vision, largest', [
    ({}, 'transformer.resblocks.0'), (EVA, 'trunk.blocks.0'), (RELATIVE, 'trunk.blocks.0'), (RESNET, 'layer1')])
def test_the_numbers_of_an_image_are_those_between_its_blocks(tiny_clip_config, vision, largest):
    tiny_clip_config['vision_cfg'] = vision or tiny_clip_config['vision_cfg']
    backbone, sizes = small(tiny_clip_config), []
    backbone.clip.visual.get_submodule(largest).register_forward_hook(
        lambda _, inputs, output: sizes.append(output.numel()))
    backbone(torch.rand(2, 3, *backbone.image_size))
    assert sizes == [2 * backbone.tower.numbers_per_image]


@pytest.mark.parametrize('name, views', [('ViT-H-14-quickgelu', 2**24 // (257 * 1280)), ('ViT-B-32', 256)])
def test_views_per_pass_bound_the_memory_of_large_models(name, views):
    with torch.device('meta'):
        assert CLIPDepthBackbone(name, pixel_mean=None, num_blocks=0).views_per_pass == views


def test_an_attention_pool_has_no_feature_map(tiny_clip_config):
    tiny_clip_config['vision_cfg'] = RESNET
    with pytest.raises(ValueError, match='no feature map after its last block'):
        small(tiny_clip_config, output='feature_map')


@pytest.mark.parametrize('vision, name', [
    (dict(image_size=32, timm_model_name='convnext_atto', timm_pool='avg', timm_proj='linear'), 'ConvNeXt'),
])
def test_other_towers_have_the_pretrained_branch_only(tiny_clip_config, vision, name):
    views = torch.rand(3, 3, vision['image_size'], vision['image_size'])
    tiny_clip_config['vision_cfg'] = vision
    with pytest.raises(ValueError, match=f'no tuned branch.*{name}.*num_blocks=0'):
        small(tiny_clip_config)
    backbone = small(tiny_clip_config, num_blocks=0).train()
    assert backbone.branches == ('pretrained', )
    embeddings = backbone(views)['pretrained']
    assert embeddings.shape == (3, 48) and not embeddings.requires_grad
    torch.testing.assert_close(backbone(views[:1])['pretrained'], embeddings[:1], atol=1e-4, rtol=1e-4)
    with pytest.raises(ValueError, match="no branch 'tuned'"):
        backbone(views, ('tuned', ))


# ---------------------------------------------------------------- as a detector's image backbone
def test_feature_map(tiny_clip_config, views):
    backbone = small(tiny_clip_config, output='feature_map')
    (feature_map, ) = backbone(views)
    assert feature_map.shape == (3, 64, 4, 4) and backbone.out_channels == 64
    backbone.output = 'embedding'
    # A ViT with average pooling embeds the mean of this map: the map's layout is rows, then columns.
    tokens = backbone.tower.feature_map(backbone._tokens(views, ('tuned', ))['tuned'])
    torch.testing.assert_close(feature_map, tokens)
    normed = backbone.clip.visual.ln_post(backbone._tokens(views, ('tuned', ))['tuned'])
    torch.testing.assert_close(feature_map[1, :, 2, 3], normed[1, 1 + 2 * 4 + 3])


def test_resize_is_asked_for(tiny_clip_config):
    with pytest.raises(ValueError, match=r'\(32, 32\) pixels, got \(48, 40\).*resize=True'):
        small(tiny_clip_config)(torch.rand(1, 3, 48, 40))
    assert small(tiny_clip_config, resize=True)(torch.rand(1, 3, 48, 40))['tuned'].shape == (1, 48)


# ---------------------------------------------------------------- errors
@pytest.mark.parametrize('options, message', [
    (dict(combine='mean'), "combine must be 'residual', 'direct', 'shared' or 'multi_view', got 'mean'"),
    (dict(output='tokens'), "output must be 'embedding' or 'feature_map'"),
    (dict(copy_init='zero'), "copy_init must be one of pretrained, random, random_block, got 'zero'"),
    (dict(trainable='mlp'), "trainable must be 'attention' or 'all'"),
    (dict(num_blocks=4), 'num_blocks must be from 0 to the 3 blocks'),
    (dict(num_blocks=-1), 'num_blocks must be from 0'),
])
def test_wrong_options(tiny_clip_config, options, message):
    with pytest.raises(ValueError, match=message):
        small(tiny_clip_config, **options)


def test_double_views_are_cast_and_chunks_of_the_trunk_change_nothing(tiny_clip_config, views):
    backbone = small(tiny_clip_config)
    perturb(backbone)
    expected = backbone(views)
    torch.testing.assert_close(backbone(views.double()), expected)
    for transformer_batch_first in (True, False):
        backbone.clip.visual.transformer.batch_first = transformer_batch_first
        for block in [*backbone.clip.visual.transformer.resblocks, *backbone.tuned_blocks]:
            block.attn.batch_first = transformer_batch_first
        torch.testing.assert_close(backbone(views, trunk_batch_size=2), expected, atol=1e-5, rtol=1e-5)


def test_pixel_statistics_of_the_clip(tiny_clip_config, recwarn):
    imagenet = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
    openai = ([0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711])

    def statistics(clip, option, pretrained=None, config=None):
        return tuple(map(list, resolve_pixel_statistics(option, option, clip, pretrained, config or {})))

    assert statistics('ViT-B-16-SigLIP', 'clip', pretrained='webli') == ([0.5] * 3, [0.5] * 3)
    assert statistics('ViT-B-16-SigLIP', 'clip', pretrained='weights.pt') == ([0.5] * 3, [0.5] * 3)
    assert statistics('ViT-H-14-quickgelu', 'clip', pretrained='dfn5b') == openai
    assert statistics('ViT-L-14', 'clip', pretrained='openai') == openai
    assert statistics('opendlign-tiny', 'clip', pretrained='builtin') == imagenet
    own = dict(preprocess_cfg=dict(mean=[.1, .2, .3], std=[.4, .5, .6]))
    assert statistics('mine', 'clip', pretrained='mine.pt', config=own) == ([.1, .2, .3], [.4, .5, .6])
    for option in ('imagenet', 'default'):
        assert statistics('ViT-B-32', option, pretrained='datacomp_xl_s13b_b90k') == imagenet
        assert statistics('opendlign-tiny', option, pretrained='builtin') == imagenet
    assert statistics('ViT-B-16-SigLIP', 'imagenet', pretrained='webli') == imagenet
    assert statistics('ViT-B-16-SigLIP', 'default') == imagenet, 'random weights were trained with none'
    assert not [warning for warning in recwarn if 'normalizes' in str(warning.message)]
    backbone = small(dict(tiny_clip_config, **own), pixel_mean='clip', pixel_std=(1, 1, 1))
    assert backbone.pixel_mean.flatten().tolist() == pytest.approx([.1, .2, .3])
    assert backbone.pixel_std.flatten().tolist() == [1, 1, 1]


@pytest.mark.parametrize('clip, pretrained, trained', [
    ('ViT-B-16-SigLIP', 'webli', r'mean \(0.5, 0.5, 0.5\) and standard deviation \(0.5, 0.5, 0.5\)'),
    ('ViT-B-16', None, None), ('RN50', 'openai', r'mean \(0.481'), ('mine', 'mine.pt', 'unknown ones')])
def test_unstated_pixel_statistics_are_warned_of_outside_the_paper(clip, pretrained, trained, recwarn):
    resolve_pixel_statistics('default', 'default', clip, pretrained, {})
    if trained is None:
        assert not recwarn
    else:
        message = str(recwarn.pop(UserWarning).message)
        assert re.search(f"'{clip}'.*{trained}.*ImageNet's, mean \\(0.485, .*state the choice", message), message


def test_wrong_pixel_statistics(tiny_clip_config):
    with pytest.raises(ValueError, match="pixel_mean='clip': the pixel statistics of CLIP 'small' .* not known"):
        small(tiny_clip_config, pixel_mean='clip', pixel_std='clip')
    with pytest.raises(ValueError, match="pixel_mean='clip': .*'ViT-L-14' with pretrained='weights.pt'"):
        resolve_pixel_statistics('clip', 'clip', 'ViT-L-14', 'weights.pt', {})
    for option in ('own', (0.5, 0.5), None):
        with pytest.raises(ValueError, match='pixel_std must be three numbers'):
            small(tiny_clip_config, pixel_std=option)


def test_wrong_views(tiny_clip_config, views):
    backbone = small(tiny_clip_config)
    with pytest.raises(ValueError, match=r'\(N, 3, H, W\), got \(3, 32, 32\)'):
        backbone(views[0])
    with pytest.raises(TypeError, match='divide uint8 images by 255'):
        backbone((views * 255).to(torch.uint8))
    with pytest.raises(ValueError, match="no branch 'depth'"):
        backbone(views, ('depth', ))


def test_unknown_clip_and_configuration(tiny_clip_config, tmp_path):
    with pytest.raises(ValueError, match="open_clip has no model named 'ViT-Z-1'.*model_config"):
        CLIPDepthBackbone('ViT-Z-1')
    with pytest.raises(FileNotFoundError, match='nothing.json'):
        small(tmp_path / 'nothing.json')
    for damaged, message in [('{"embed_dim": 4', 'damaged.json is not JSON'), ('[]', 'not a dict: .*damaged.json')]:
        (tmp_path / 'damaged.json').write_text(damaged)
        with pytest.raises(ValueError, match=message):
            small(tmp_path / 'damaged.json')
    del tiny_clip_config['text_cfg']
    with pytest.raises(ValueError, match='lacks text_cfg'):
        small(tiny_clip_config)


def test_missing_weights_end_in_one_error(tmp_path, monkeypatch):
    def offline(*args, **kwargs):
        raise ConnectionError('no route to host')

    monkeypatch.setattr('open_clip.pretrained.hf_hub_download', offline)
    with pytest.raises(FileNotFoundError) as error:
        CLIPDepthBackbone('ViT-H-14-quickgelu', pretrained='dfn5b')
    for part in ("'dfn5b'", "'ViT-H-14-quickgelu'", 'cache', 'no route to host', 'path of a local weight file',
                 'pretrained=None'):
        assert part in str(error.value)
    with pytest.raises(FileNotFoundError, match="'dfn9z' of CLIP 'ViT-B-16' is neither .* tags .*dfn2b"):
        CLIPDepthBackbone('ViT-B-16', pretrained='dfn9z')
    with pytest.raises(FileNotFoundError, match="'ViT-B-16' does not come with this package"):
        CLIPDepthBackbone('ViT-B-16', pretrained='builtin')
    monkeypatch.setattr('opendlign_mm.models.clip_loading.ASSETS', tmp_path)
    with pytest.raises(FileNotFoundError, match='opendlign-tiny'):
        CLIPDepthBackbone('opendlign-tiny', pretrained='builtin')


def test_weights_of_another_model_are_refused(tiny_clip_config, tmp_path):
    torch.save({'visual.proj': torch.zeros(2, 2)}, tmp_path / 'weights.pth')
    with pytest.raises(RuntimeError, match="weights.pth do not fit CLIP 'small'"):
        small(tiny_clip_config, pretrained=str(tmp_path / 'weights.pth'))


def test_tags_activation_mismatch_is_warned_of(monkeypatch, tmp_path):
    from opendlign_mm.models.clip_loading import resolve_weights
    monkeypatch.setattr('open_clip.download_pretrained', lambda config: tmp_path / 'weights')
    with pytest.warns(UserWarning, match="'dfn5b'.*quick_gelu=True.*'-quickgelu'"):
        assert resolve_weights('ViT-H-14', 'dfn5b', quick_gelu=False) == tmp_path / 'weights'


# ---------------------------------------------------------------- where weights come from
def test_random_weights_are_reproducible(tiny_clip_config, views):
    torch.manual_seed(5)
    before = torch.get_rng_state()
    first = small(tiny_clip_config)
    assert torch.equal(before, torch.get_rng_state()), 'building must not consume the random state of the caller'
    torch.manual_seed(6)
    second, other = small(tiny_clip_config), small(tiny_clip_config, random_seed=1)
    assert torch.equal(first(views)['pretrained'], second(views)['pretrained'])
    assert not torch.equal(first(views)['pretrained'], other(views)['pretrained'])


@pytest.mark.parametrize('suffix', ['.pth', '.safetensors'])
def test_local_weights_and_configuration_file(tiny_clip_config, tmp_path, views, suffix):
    source = small(tiny_clip_config, random_seed=3)
    weights, config = tmp_path / f'weights{suffix}', tmp_path / 'config.json'
    config.write_text(json.dumps(tiny_clip_config))
    state = {key: value.contiguous() for key, value in source.clip.state_dict().items()}
    if suffix == '.pth':
        torch.save(state, weights)
    else:
        from safetensors.torch import save_file
        save_file(state, str(weights))
    loaded = small(str(config), pretrained=str(weights))
    assert torch.equal(loaded(views)['pretrained'], source(views)['pretrained'])
    assert loaded.clip_identity().sha256 == source.clip_identity().sha256
    assert loaded.clip_identity().pretrained == f'weights{suffix}', 'no folder of this machine in a checkpoint'


def test_compact_clip(tiny_clip_config, tmp_path, monkeypatch, views):
    monkeypatch.setattr('opendlign_mm.models.clip_loading.ASSETS', tmp_path)
    source = small(tiny_clip_config, random_seed=3)
    texts = ['a chair', 'a depth map of a table']
    tokens = open_clip.SimpleTokenizer()(texts)
    path = tmp_path / 'tiny_clip.safetensors'
    save_compact_clip(source.clip, tiny_clip_config, tokens.flatten().tolist(), path, dtype=torch.float32)
    assert sorted(file.name for file in tmp_path.iterdir()) == ['tiny_clip.json', 'tiny_clip.safetensors']
    table = 49408 * 64 * 4
    assert path.stat().st_size < sum(p.numel() * 4 for p in source.clip.parameters()) - 0.99 * table

    loaded = CLIPDepthBackbone('opendlign-tiny', pretrained='builtin')
    assert torch.equal(loaded(views)['pretrained'], source(views)['pretrained'])
    torch.testing.assert_close(loaded.encode_text(texts), source.encode_text(texts))
    embedding = loaded.clip.token_embedding.weight
    assert (embedding.abs().sum(dim=1) > 0).nonzero().flatten().tolist() == sorted(tokens.unique().tolist())
    with pytest.warns(UserWarning, match='knows nothing of: dinosaur'):
        loaded.encode_text(['a dinosaur'])
    # A local path works as well as the packaged name, and half precision is within its rounding.
    save_compact_clip(source.clip, tiny_clip_config, tokens.flatten().tolist(), tmp_path / 'half.safetensors')
    half = small(str(tmp_path / 'half.json'), pretrained=str(tmp_path / 'half.safetensors'))
    assert half.clip.token_embedding.weight.dtype == torch.float32
    torch.testing.assert_close(half(views)['pretrained'], source(views)['pretrained'], atol=2e-2, rtol=0)

    with pytest.raises(ValueError, match='indices from 0 to 49407'):
        save_compact_clip(source.clip, tiny_clip_config, [49408], path)
    with pytest.raises(ValueError, match='must end in .safetensors'):
        save_compact_clip(source.clip, tiny_clip_config, [0], tmp_path / 'x.pth')
