"""The OpenDlign model: embedding, alignment, classification, the data sample and the batch."""
import math

import pytest
import torch
import torch.nn.functional as F
from mmengine.dataset import default_collate, pseudo_collate

from opendlign_mm.models import (
    CLIPDepthBackbone,
    DepthImageContrastiveHead,
    OpenDlign,
    ViewDataPreprocessor,
    ZeroShotHead,
)
from opendlign_mm.models.contrastive_head import object_features
from opendlign_mm.structures import ShapeDataSample

NAMES = ['chair', 'table', 'sofa']


def random_views(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def backbone(tiny_clip_config) -> CLIPDepthBackbone:
    backbone = CLIPDepthBackbone('small', model_config=tiny_clip_config)
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():  # as if trained, so that the branches differ
        for parameter in backbone.tuned_blocks[0].attn.parameters():
            parameter += 0.05 * torch.randn(parameter.shape, generator=generator)
    return backbone


@pytest.fixture
def model(backbone) -> OpenDlign:
    return OpenDlign(backbone, DepthImageContrastiveHead(), ZeroShotHead(NAMES, ['a {}', 'the {}']))


# ---------------------------------------------------------------- encode_views
def test_encode_views_contract(model, device):
    model, views = model.to(device), random_views(2, 4, 32, 32).to(device)
    for branch in ('pretrained', 'tuned'):
        features = model.encode_views(views, branch)
        assert features.shape == (2, 4, 48) and features.dtype == torch.float32 and features.device.type == device.type
        torch.testing.assert_close(features.norm(dim=-1), torch.ones(2, 4, device=device))
        # Gray views are views with three equal channels; the order of objects and views is kept.
        colored = views.unsqueeze(2).repeat(1, 1, 3, 1, 1)
        torch.testing.assert_close(model.encode_views(colored, branch), features)
        single = F.normalize(model.backbone(colored[1, 2:3])[branch], dim=-1)
        # On a GPU convolutions of another batch size round their inputs to ten bits differently (TF32).
        precision = 1e-4 if device.type == 'cuda' else 1e-5
        torch.testing.assert_close(features[1, 2], single[0], atol=precision, rtol=precision)
    both = model.encode_views(views, ('pretrained', 'tuned'))
    torch.testing.assert_close(both['tuned'], model.encode_views(views, 'tuned'))
    assert (both['tuned'] - both['pretrained']).abs().max() > 1e-3


def test_views_are_encoded_in_full_batches(model):
    sizes = []
    model.backbone.register_forward_pre_hook(lambda _, inputs: sizes.append(len(inputs[0])))
    views = random_views(3, 5, 32, 32)
    whole = model.encode_views(views, 'tuned').detach()
    model.encode_batch_size = 4
    with torch.no_grad():
        torch.testing.assert_close(model.encode_views(views, 'tuned'), whole, atol=1e-5, rtol=1e-5)
        assert model.encode_views(views[:0], 'tuned').shape == (0, 5, 48)
    assert sizes == [15, 4, 4, 4, 3, 0]


@pytest.mark.parametrize('given, expected', [(None, 7), (300, 300)])
def test_the_backbone_says_how_many_views_pass_it_unless_the_user_does(backbone, monkeypatch, given, expected):
    monkeypatch.setattr(CLIPDepthBackbone, 'views_per_pass', 7)
    assert OpenDlign(backbone, encode_batch_size=given).encode_batch_size == expected
    assert given or OpenDlign(backbone).encode_batch_size == expected


def test_a_pass_without_views_is_refused(backbone):
    with pytest.raises(ValueError, match='encode_batch_size must be at least 1, got 0'):
        OpenDlign(backbone, encode_batch_size=0)


def test_wrong_views(model):
    with pytest.raises(ValueError, match=r'\(B, V, H, W\) or \(B, V, 3, H, W\), got \(4, 32, 32\)'):
        model.encode_views(random_views(4, 32, 32), 'tuned')
    with pytest.raises(ValueError, match=r'got \(2, 4, 1, 32, 32\)'):
        model.encode_views(random_views(2, 4, 1, 32, 32), 'tuned')
    with pytest.raises(ValueError, match=r'takes images of \(32, 32\) pixels, got \(16, 16\)'):
        model.encode_views(random_views(2, 4, 16, 16), 'tuned')
    with pytest.raises(ValueError, match="no branch 'depth'.*'pretrained', 'tuned'"):
        model.encode_views(random_views(2, 4, 32, 32), 'depth')
    with pytest.raises(TypeError, match='views must be floating point in .* or uint8, got torch.int64'):
        model.encode_views(torch.ones(2, 4, 32, 32, dtype=torch.int64), 'tuned')


def test_views_of_other_types_are_scaled_and_cast(model, device):
    model, pixels = model.to(device), (random_views(2, 3, 32, 32) * 255).round().to(device)
    expected = model.encode_views(pixels / 255, 'tuned')
    torch.testing.assert_close(model.encode_views(pixels.to(torch.uint8), 'tuned'), expected)
    torch.testing.assert_close(model.encode_views(pixels.double() / 255, 'tuned'), expected)
    torch.testing.assert_close(model.zero_shot(pixels.double() / 255), model.zero_shot(pixels / 255))
    half = model.encode_views((pixels / 255).half(), 'tuned')
    assert half.dtype == torch.float32 and F.cosine_similarity(half, expected, dim=-1).min() > 0.999


@pytest.mark.parametrize('call', [
    lambda model, views: model.encode_views(views, 'tuned'), lambda model, views: model.zero_shot(views),
    lambda model, views: model.class_logits(views), lambda model, views: model.embed_shapes(views),
    lambda model, views: model(dict(depth_views=views), mode='predict'),
    lambda model, views: model(dict(depth_views=views)),
    lambda model, views: model(dict(depth_views=views, image_features=torch.rand(3, 4, 48)), mode='loss'),
])
def test_views_that_are_not_images_in_0_to_1_are_refused(model, call):
    views = random_views(3, 4, 32, 32)
    call(model, views)
    for value, message in [(255., r'in \[0, 1\], got values from .* to 255 .*view 2 of sample 1.*divide 8-bit'),
                           (-0.5, r'values from -0.5 to .*view 2 of sample 1'),
                           (float('nan'), r'in \[0, 1\].*nan.*view 2 of sample 1'),
                           (float('inf'), r'in \[0, 1\].*inf.*view 2 of sample 1')]:
        wrong = views.clone()
        wrong[1, 2, 5, 6] = value
        with pytest.raises(ValueError, match=message):
            call(model, wrong)
    views[2, 3] = 0
    with pytest.raises(ValueError, match='all pixels are 0 in view 3 of sample 2'):
        call(model, views)


def test_wrong_images_are_named_as_such(model):
    inputs = dict(depth_views=random_views(1, 2, 32, 32), images=255 * random_views(1, 2, 3, 32, 32))
    with pytest.raises(ValueError, match=r'images must be in \[0, 1\]'):
        model(inputs, mode='loss')
    model.return_embeddings = True
    with pytest.raises(ValueError, match=r'images must be in \[0, 1\]'):
        model(inputs, mode='predict')
    with pytest.raises(ValueError, match=r'images must have shape .*got \(1, 2, 1, 32, 32\)'):
        model(dict(inputs, images=random_views(1, 2, 1, 32, 32)), mode='loss')


def test_frozen_blocks_take_chunks_of_views_also_in_training(model):
    sizes = dict(conv=[], frozen=[], tuned=[])
    visual = model.backbone.clip.visual
    for name, module in dict(conv=visual.conv1, frozen=visual.transformer.resblocks[-1].ln_1,
                             tuned=model.backbone.tuned_blocks[0].ln_1).items():
        module.register_forward_pre_hook(lambda _, inputs, name=name: sizes[name].append(len(inputs[0])))
    views = random_views(3, 5, 32, 32)
    whole = model.train().encode_views(views, 'tuned')
    model.encode_batch_size = 4
    chunked = model.encode_views(views, 'tuned')
    assert sizes == dict(conv=[15, 4, 4, 4, 3], frozen=[15, 4, 4, 4, 3], tuned=[15, 15])
    torch.testing.assert_close(chunked, whole, atol=1e-5, rtol=1e-5)
    weight = model.backbone.tuned_blocks[0].attn.in_proj_weight
    gradients = [torch.autograd.grad(features[..., 0].sum(), weight) for features in (whole, chunked)]
    torch.testing.assert_close(gradients[0], gradients[1], atol=1e-5, rtol=1e-4)


# ---------------------------------------------------------------- alignment
def test_loss_is_the_heads_on_object_features(model, device):
    model = model.to(device).train()
    inputs = dict(depth_views=random_views(3, 4, 32, 32).to(device),
                  images=random_views(3, 4, 3, 32, 32, seed=1).to(device))
    losses = model(inputs, mode='loss')
    expected = model.alignment_head.loss(
        object_features(model.encode_views(inputs['depth_views'], 'tuned')),
        object_features(model.encode_views(inputs['images'], 'pretrained')), model.backbone.logit_scale.exp())
    torch.testing.assert_close(losses, expected)
    total, log = model.parse_losses(losses)
    assert total.item() == pytest.approx(losses['loss_contrastive'].item() + losses['loss_distance'].item())
    assert {'depth_to_image_accuracy', 'image_to_depth_accuracy'} <= set(log)
    total.backward()
    assert {name for name, p in model.named_parameters() if p.grad is not None} == {
        f'backbone.tuned_blocks.0.attn.{name}' for name in ('in_proj_weight', 'in_proj_bias', 'out_proj.weight',
                                                            'out_proj.bias')}


def test_images_pass_before_the_graph_of_the_depth_views_takes_memory(model):
    passes = []
    model.backbone.register_forward_pre_hook(lambda _, inputs: passes.append((inputs[1], torch.is_grad_enabled())))
    model.train()(dict(depth_views=random_views(2, 3, 32, 32), images=random_views(2, 3, 3, 32, 32)), mode='loss')
    assert passes == [(('pretrained', ), False), (('tuned', ), True)]


def test_a_shared_block_is_trained_by_images_too(model):
    inputs = dict(depth_views=random_views(3, 4, 32, 32), images=random_views(3, 4, 3, 32, 32, seed=1))
    model.train().backbone.combine = 'shared'
    losses = model(inputs, mode='loss')
    depth, images = (object_features(model.encode_views(inputs[name], 'tuned')) for name in ('depth_views', 'images'))
    expected = model.alignment_head.loss(depth, images, model.backbone.logit_scale.exp())
    torch.testing.assert_close(losses, expected)
    weight = model.backbone.tuned_blocks[0].attn.in_proj_weight
    (through_both, ) = torch.autograd.grad(losses['loss_distance'], weight)
    fixed = model.alignment_head.loss(object_features(model.encode_views(inputs['depth_views'], 'tuned')),
                                      images.detach(), model.backbone.logit_scale.exp())
    (through_depth, ) = torch.autograd.grad(fixed['loss_distance'], weight)
    assert (through_both - through_depth).abs().max() > 1e-3 * through_both.abs().max()
    with pytest.raises(ValueError, match='image_features of the pretrained branch cannot stand'):
        model(dict(depth_views=inputs['depth_views'], image_features=random_views(3, 4, 48)), mode='loss')


def test_learnable_scale_starts_at_clips(backbone):
    with torch.no_grad():
        backbone.clip.logit_scale.fill_(math.log(50))
    model = OpenDlign(backbone, DepthImageContrastiveHead('learnable'))
    assert model.alignment_head.logit_scale.exp().item() == pytest.approx(50)
    assert 'alignment_head.logit_scale' in model.state_dict()


@pytest.mark.parametrize('amp', [False, True], ids=['float32', 'bfloat16'])
def test_training_aligns(backbone, device, amp):
    """Depth features move to their images: 40 steps on four objects."""
    from mmengine.optim import OptimWrapper
    model = OpenDlign(backbone, DepthImageContrastiveHead(init_logit_scale=math.log(20))).to(device).train()
    optimizer = OptimWrapper(torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=3e-3))
    # The same image in other colors stands for the gap between photographs and depth maps.
    depth = random_views(4, 2, 32, 32)
    images = depth.unsqueeze(2) * torch.tensor([0.9, 0.4, 0.1]).view(3, 1, 1)
    data = dict(inputs=dict(depth_views=list(depth), images=list(images)))
    frozen = {name: value.clone() for name, value in model.backbone.clip.state_dict().items()}
    history = []
    for _ in range(40):
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=amp):
            losses = model.data_preprocessor(data, True)
            losses = model(losses['inputs'], mode='loss')
        total, _ = model.parse_losses(losses)
        optimizer.update_params(total)
        history.append(total.item())
    assert history[-1] < 0.5 * history[0], history
    assert all(torch.equal(value, frozen[name]) for name, value in model.backbone.clip.state_dict().items())


# ---------------------------------------------------------------- classification
def test_zero_shot_aggregates_both_branches(model, device):
    model, views = model.to(device), random_views(2, 4, 32, 32).to(device)
    classes = model.class_features()
    both = model.encode_views(views, ('pretrained', 'tuned'))
    expected = sum(((both['pretrained'] if view < 2 else both['tuned'])[:, view] @ classes.T).softmax(-1)
                   for view in range(4))
    scores = model.zero_shot(views)
    assert scores.shape == (2, 3) and not scores.requires_grad
    torch.testing.assert_close(scores, expected.detach(), atol=1e-5, rtol=1e-5)
    model.zero_shot_head.logit_scale = 'clip'
    scale = model.backbone.logit_scale.exp()
    expected = sum((scale * (both['pretrained'] if view < 2 else both['tuned'])[:, view] @ classes.T).softmax(-1)
                   for view in range(4))
    torch.testing.assert_close(model.zero_shot(views), expected.detach(), atol=1e-4, rtol=1e-4)


def test_vocabulary_at_run_time(model):
    views = random_views(2, 4, 32, 32)
    model.set_vocabulary(['bed', 'lamp', 'cup', 'door'])
    four = model.zero_shot(views)
    model.set_vocabulary(['lamp'], ['my {}'])
    assert four.shape == (2, 4) and model.zero_shot(views).shape == (2, 1)
    assert not any('class' in key for key in model.state_dict())
    with pytest.raises(ValueError, match='vocabulary is empty'):
        model.set_vocabulary([])


def test_loading_weights_renews_class_features(model, tiny_clip_config):
    views = random_views(2, 4, 32, 32)
    before = model.zero_shot(views)
    other = CLIPDepthBackbone('other', model_config=tiny_clip_config, random_seed=9)
    state = {f'backbone.clip.{key}': value for key, value in other.clip.state_dict().items()}
    state.update({f'backbone.tuned_blocks.{key}': value for key, value in other.tuned_blocks.state_dict().items()})
    model.load_state_dict(state, strict=True)
    expected = OpenDlign(other, zero_shot_head=ZeroShotHead(NAMES, ['a {}', 'the {}'])).zero_shot(views)
    torch.testing.assert_close(model.zero_shot(views), expected)
    assert (before - expected).abs().max() > 1e-4


def test_predict_fills_the_data_samples(model):
    model.compare_pretrained = True
    calls = []
    model.backbone.clip.visual.conv1.register_forward_hook(lambda *_: calls.append(1))
    views = random_views(2, 4, 32, 32)
    samples = [ShapeDataSample(metainfo=dict(sample_id=str(i), category=NAMES[i])).set_gt_label(i) for i in range(2)]
    predicted = model(dict(depth_views=views), samples, mode='predict')
    assert len(calls) == 1, 'one pass of the trunk for before and after'
    scores = model.zero_shot(views)
    pretrained = model.encode_views(views, 'pretrained')
    frozen = model.zero_shot_head.scores(model.class_features(), pretrained=pretrained, branches='pretrained')
    for index, sample in enumerate(predicted):
        assert sample is samples[index] and sample.gt_label.tolist() == [index]
        assert sample.class_names == tuple(NAMES)
        torch.testing.assert_close(sample.pred_scores, scores[index], atol=1e-5, rtol=1e-5)
        assert sample.pred_label.tolist() == [scores[index].argmax().item()]
        torch.testing.assert_close(sample.pred_scores_pretrained, frozen[index].detach(), atol=1e-5, rtol=1e-5)
    assert len(model(dict(depth_views=views), mode='predict')) == 2


def test_pretrained_model_without_a_tuned_branch(tiny_clip_config):
    backbone = CLIPDepthBackbone('small', model_config=tiny_clip_config, num_blocks=0)
    with pytest.raises(ValueError, match="uses the 'tuned' branch, which the backbone does not have"):
        OpenDlign(backbone, zero_shot_head=ZeroShotHead(NAMES))
    model = OpenDlign(backbone, zero_shot_head=ZeroShotHead(NAMES, ['a {}'], branches='pretrained'))
    assert model.zero_shot(random_views(1, 4, 32, 32)).shape == (1, 3)
    assert set(model(dict(depth_views=random_views(1, 4, 32, 32)))) == {'pretrained'}


def test_modes_and_what_they_need(model, backbone):
    inputs = dict(depth_views=random_views(1, 2, 32, 32))
    assert {name: tuple(value.shape) for name, value in model(inputs, mode='tensor').items()} == {
        'pretrained': (1, 2, 48), 'tuned': (1, 2, 48)}
    with pytest.raises(ValueError, match="mode must be 'loss', 'predict' or 'tensor', got 'train'"):
        model(inputs, mode='train')
    with pytest.raises(ValueError, match="alignment needs 'images'"):
        model(inputs, mode='loss')
    with pytest.raises(ValueError, match="no 'depth_views', only .*'points'.*ProjectPointsToDepth"):
        model(dict(points=torch.zeros(1)), mode='predict')
    bare = OpenDlign(backbone)
    with pytest.raises(RuntimeError, match="without alignment_head, which mode 'loss' needs"):
        bare(inputs, mode='loss')
    with pytest.raises(RuntimeError, match='without zero_shot_head'):
        bare.zero_shot(inputs['depth_views'])
    with pytest.raises(RuntimeError, match='no vocabulary'):
        OpenDlign(backbone, zero_shot_head=ZeroShotHead()).zero_shot(inputs['depth_views'])


def test_built_from_a_config(tiny_clip_config):
    from mmdet3d.registry import MODELS
    from mmengine import Config
    config = Config(dict(model=dict(
        type='OpenDlign', backbone=dict(type='CLIPDepthBackbone', clip='small', model_config=tiny_clip_config),
        alignment_head=dict(type='DepthImageContrastiveHead', logit_scale='learnable'),
        zero_shot_head=dict(type='ZeroShotHead', class_names=NAMES, templates=['a {}']))))
    model = MODELS.build(config.model)
    assert isinstance(model.data_preprocessor, ViewDataPreprocessor)
    assert model.zero_shot(random_views(1, 2, 32, 32)).shape == (1, 3)


# ---------------------------------------------------------------- batches and samples
@pytest.mark.parametrize('collate', [pseudo_collate, default_collate])
def test_data_preprocessor_stacks_and_scales(collate, device):
    samples = [dict(inputs=dict(depth_views=random_views(4, 8, 8, seed=i),
                                images=torch.full((4, 3, 8, 8), 51 * i, dtype=torch.uint8)),
                    data_samples=ShapeDataSample().set_gt_label(i)) for i in range(3)]
    preprocessor = ViewDataPreprocessor().to(device)
    data = preprocessor(collate(samples))
    depth, images = data['inputs']['depth_views'], data['inputs']['images']
    assert depth.shape == (3, 4, 8, 8) and images.shape == (3, 4, 3, 8, 8)
    assert depth.dtype == images.dtype == torch.float32 and depth.device.type == images.device.type == device.type
    torch.testing.assert_close(depth[1].cpu(), samples[1]['inputs']['depth_views'])
    torch.testing.assert_close(images[2].cpu(), torch.full((4, 3, 8, 8), 0.4))
    assert [int(sample.gt_label) for sample in data['data_samples']] == [0, 1, 2]
    assert data['data_samples'][0].gt_label.device.type == device.type


def test_data_preprocessor_names_unequal_samples():
    preprocessor = ViewDataPreprocessor()
    with pytest.raises(ValueError, match=r"'depth_views' of one batch must have one shape, got \[\(4, 8, 8\), \(5,"):
        preprocessor(dict(inputs=dict(depth_views=[torch.rand(4, 8, 8), torch.rand(5, 8, 8)])))
    samples = [dict(inputs=dict(images=torch.rand(4, 3, size, size)),
                    data_samples=ShapeDataSample(metainfo=dict(sample_id=f'chair-{size}'))) for size in (8, 8, 6)]
    with pytest.raises(ValueError, match=r"'images'.*\(4, 3, 6, 6\), \(4, 3, 8, 8\).*samples chair-8 and chair-6; use"):
        preprocessor(pseudo_collate(samples))
    with pytest.raises(ValueError, match='different inputs'):
        preprocessor(dict(inputs=[dict(depth_views=torch.rand(4, 8, 8)), dict(images=torch.rand(4, 3, 8, 8))]))


def test_shape_data_sample():
    sample = ShapeDataSample(metainfo=dict(sample_id='7', category='chair')).set_gt_label(2)
    sample.set_pred_scores(torch.tensor([0.1, 0.7, 0.2]))
    assert sample.gt_label.dtype == torch.int64 and sample.gt_label.shape == (1, )
    assert sample.pred_label.tolist() == [1] and sample.sample_id == '7'
    assert set(sample.to_dict()) == {'sample_id', 'category', 'gt_label', 'pred_scores', 'pred_label'}
    sample.set_pred_scores(torch.tensor([0.1, 0.7]), ['bed', 'sofa'])
    assert sample.class_names == ('bed', 'sofa') and 'class_names' in sample.metainfo_keys()
    with pytest.raises(ValueError, match='pred_scores has 2 classes, class_names has 1'):
        sample.set_pred_scores(torch.ones(2), ['bed'])
    for label in (-1, 1.5, torch.tensor([1, 2])):
        with pytest.raises(ValueError, match='gt_label must be one class index'):
            sample.set_gt_label(label)
    with pytest.raises(ValueError, match=r'shape \(C,\) with C >= 1'):
        sample.set_pred_scores(torch.zeros(2, 3))
