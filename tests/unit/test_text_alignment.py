"""Alignment with texts: pairs of the head, captions of samples, their features, and the batch of two processes."""
import json

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from mmdet3d.registry import DATASETS, TRANSFORMS
from mmengine.registry import init_default_scope

from helpers.gloo_processes import run_in_processes
from helpers.shape_fixtures import write_released_training_set
from opendlign_mm.models import CLIPDepthBackbone, DepthImageContrastiveHead, OpenDlign
from opendlign_mm.models.captions import CaptionFeatures, number_of
from opendlign_mm.models.contrastive_head import object_features
from opendlign_mm.structures import ShapeDataSample

CAPTIONS = ['a chair', 'a lamp', 'a chair', 'a table']


def features(count=3, batch=4, dim=8, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return F.normalize(torch.randn(count, batch, dim, generator=generator), dim=-1)


def caption_ids(captions=CAPTIONS):
    return torch.tensor([number_of(caption) for caption in captions])


def nce(logits):
    """Mean of -log softmax at the diagonal over the rows, in NumPy; -inf leaves an entry out."""
    logits = logits - logits.max(1, keepdims=True)
    return -np.mean(np.diag(logits) - np.log(np.exp(logits).sum(1)))


# ---------------------------------------------------------------- head
def test_the_default_is_the_loss_of_depth_and_image_to_the_bit():
    depth, image, text = features()
    scale = torch.tensor(30.)
    logits, target = scale * depth @ image.t(), torch.arange(4)
    expected = (F.cross_entropy(logits, target) + F.cross_entropy(logits.t(), target)) / 2
    losses = DepthImageContrastiveHead().loss(depth, image, scale)
    assert list(losses) == ['loss_contrastive', 'loss_distance', 'depth_to_image_accuracy', 'image_to_depth_accuracy']
    assert torch.equal(losses['loss_contrastive'], expected)
    both = DepthImageContrastiveHead(pairs=('depth-image', 'depth-text')).loss(depth, image, scale, text, caption_ids())
    assert all(torch.equal(both[name], value) for name, value in losses.items())


@pytest.mark.parametrize('pair', ['depth-text', 'image-text'])
def test_shapes_with_one_caption_are_not_negatives_of_each_other(pair):
    depth, image, text = features()
    text[2] = text[0]
    given = dict(depth=depth, image=image, text=text)
    first, second = pair.split('-')
    head = DepthImageContrastiveHead(pairs=pair, text_weight=.5)
    losses = head.loss(depth, image, 10., text, caption_ids())
    logits = 10 * (given[first] @ given[second].t()).double().numpy()
    logits[0, 2] = logits[2, 0] = -np.inf
    expected = .5 * (nce(logits) + nce(logits.T)) / 2
    assert losses[f'loss_{first}_{second}'].item() == pytest.approx(expected, rel=1e-5)
    assert losses[f'{first}_to_text_accuracy'] == np.mean(logits.argmax(1) == np.arange(4))
    assert losses[f'text_to_{first}_accuracy'] == np.mean(logits.argmax(0) == np.arange(4))
    assert not any('distance' in name or 'contrastive' in name for name in losses)


def test_one_caption_for_all_teaches_nothing():
    depth = features()[0].requires_grad_()
    losses = DepthImageContrastiveHead(pairs='depth-text').loss(
        depth, None, 10., features()[2][:1].expand(4, -1), caption_ids(['a cup'] * 4))
    losses['loss_depth_text'].backward()
    assert losses['loss_depth_text'] == 0 and not depth.grad.any()


@pytest.mark.parametrize('pairs', [(), 'depth-depth', ('depth-text', 'depth-text'), ('text-depth', )])
def test_wrong_pairs(pairs):
    with pytest.raises(ValueError, match='pairs must be one or more of depth-image, depth-text, image-text'):
        DepthImageContrastiveHead(pairs=pairs)


def test_features_that_a_pair_needs_are_asked_for():
    depth, image, text = features()
    head = DepthImageContrastiveHead(pairs=('depth-image', 'depth-text'))
    assert head.modalities == ('depth', 'image', 'text')
    with pytest.raises(ValueError, match='need image_features'):
        head.loss(depth, None, 1., text, caption_ids())
    with pytest.raises(ValueError, match='need text_features'):
        head.loss(depth, image, 1.)
    with pytest.raises(ValueError, match=r'caption_ids of shape \(4,\), got None'):
        head.loss(depth, image, 1., text)
    with pytest.raises(ValueError, match=r'depth_features and image_features and text_features .*\(3, 8\)'):
        head.loss(depth, image, 1., text[:3], caption_ids()[:3])


def losses_and_gradient(rows):
    """All pairs of some rows of a batch, in which the captions 0 and 2 are the same: losses and d/d weight."""
    weight = torch.eye(8).requires_grad_()
    depth, image, text = (value[rows] for value in features())
    head = DepthImageContrastiveHead(pairs=('image-text', 'depth-text', 'depth-image'))
    losses = head.loss(F.normalize(depth @ weight, dim=-1), F.normalize(image @ weight, dim=-1), 10., text,
                       caption_ids()[rows])
    sum(value for name, value in losses.items() if name.startswith('loss')).backward()
    return {name: value.detach() for name, value in losses.items()}, weight.grad


def test_two_processes_equal_one_with_the_joint_batch():
    def half(rank):
        losses, gradient = losses_and_gradient(slice(2 * rank, 2 * rank + 2))
        torch.distributed.all_reduce(gradient)
        return {name: value.item() for name, value in losses.items()}, (gradient / 2).tolist()

    losses, gradient = losses_and_gradient(slice(None))
    for found, mean_gradient in run_in_processes(half, 2):
        assert found == pytest.approx({name: value.item() for name, value in losses.items()}, abs=1e-6)
        torch.testing.assert_close(torch.tensor(mean_gradient), gradient, atol=1e-6, rtol=1e-5)


# ---------------------------------------------------------------- model
@pytest.fixture(scope='module')
def backbone():
    from helpers.tiny_clip import tiny_clip
    return CLIPDepthBackbone('small', model_config=tiny_clip())


def batch(captions=CAPTIONS):
    views = torch.rand(2, 4, 2, 32, 32, generator=torch.Generator().manual_seed(2))
    samples = [ShapeDataSample(metainfo=dict(sample_id=f's{i}', caption=text)) for i, text in enumerate(captions)]
    return dict(depth_views=views[0], images=views[1][:, :, None].repeat(1, 1, 3, 1, 1)), samples


def test_loss_of_the_model_is_that_of_its_head_on_views_and_captions(backbone):
    model = OpenDlign(backbone, DepthImageContrastiveHead(pairs=('depth-image', 'depth-text'))).train()
    inputs, samples = batch()
    losses = model(inputs, samples, mode='loss')
    expected = model.alignment_head.loss(
        object_features(model.encode_views(inputs['depth_views'], 'tuned')),
        object_features(model.encode_views(inputs['images'], 'pretrained')), backbone.logit_scale.exp(),
        F.normalize(backbone.encode_text(CAPTIONS), dim=-1), torch.tensor([0, 1, 0, 2]))
    torch.testing.assert_close(losses, expected)
    model.parse_losses(losses)[0].backward()
    assert {name.rpartition('attn.')[0] for name, p in model.named_parameters() if p.grad is not None} == {
        'backbone.tuned_blocks.0.'}
    # Stored features of the images take their place.
    features_of_images = model.encode_views(inputs.pop('images'), 'pretrained').detach()
    torch.testing.assert_close(model(dict(inputs, image_features=features_of_images), samples, mode='loss'), expected)


def test_texts_alone_need_no_images(backbone):
    model = OpenDlign(backbone, DepthImageContrastiveHead(pairs='depth-text'))
    inputs, samples = batch()
    losses = model(dict(depth_views=inputs['depth_views']), samples, mode='loss')
    assert set(losses) == {'loss_depth_text', 'depth_to_text_accuracy', 'text_to_depth_accuracy'}


def test_images_with_texts_train_a_shared_block_only(backbone):
    head = DepthImageContrastiveHead(pairs='image-text')
    with pytest.raises(ValueError, match="'image-text' trains nothing.*combine='shared'"):
        OpenDlign(backbone, head)
    shared = CLIPDepthBackbone('small', model_config=backbone.clip_config, combine='shared')
    model, (inputs, samples) = OpenDlign(shared, head).train(), batch()
    losses = model(inputs, samples, mode='loss')
    losses['loss_image_text'].backward()
    assert shared.tuned_blocks[0].attn.in_proj_weight.grad.any()


def test_missing_captions_are_one_error_that_names_the_object(backbone):
    model = OpenDlign(backbone, DepthImageContrastiveHead(pairs=('depth-image', 'depth-text')))
    inputs, samples = batch(CAPTIONS[:3] + [None])
    with pytest.raises(ValueError, match=r'need captions, and s3 has none: set PackShapeInputs\(caption='):
        model(inputs, samples, mode='loss')
    with pytest.raises(ValueError, match='need captions, and the batch has none'):
        model(inputs, mode='loss')
    inputs.pop('images')
    with pytest.raises(ValueError, match="needs 'images'"):
        model(inputs, batch()[1], mode='loss')


def test_each_caption_is_encoded_once_and_again_after_loading_weights(backbone):
    model, asked = OpenDlign(backbone, DepthImageContrastiveHead(pairs='depth-text')), []
    encode = backbone.encode_text

    def counting(texts):
        asked.extend(texts)
        return encode(texts)

    backbone.encode_text = counting
    try:
        inputs, samples = batch()
        for _ in range(2):
            model(inputs, samples, mode='loss')
        assert asked == ['a chair', 'a lamp', 'a table']
        model.load_state_dict(model.state_dict())
        model(inputs, samples, mode='loss')
        assert len(asked) == 6
    finally:
        del backbone.encode_text


def test_the_number_of_kept_captions_is_bounded():
    def encode(texts):
        return torch.tensor([[len(text), 1.] for text in texts])

    features_of = CaptionFeatures(most=2)
    found, numbers = features_of(['a', 'bb', 'a', 'ccc'], encode, 'cpu')
    torch.testing.assert_close(found, F.normalize(torch.tensor([[1., 1], [2, 1], [1, 1], [3, 1]]), dim=-1))
    assert len(features_of._known) <= 2 and len(set(numbers.tolist())) == 3 and numbers[0] == numbers[2]
    with pytest.raises(ValueError, match='most must be >= 1'):
        CaptionFeatures(0)


# ---------------------------------------------------------------- captions of samples
@pytest.mark.parametrize('about, caption', [
    (dict(category='night_stand'), 'a depth map of a night stand'),
    (dict(category='chair', text='an old chair'), 'a depth map of a an old chair'),
    (dict(text=' lamp '), 'a depth map of a lamp')])
def test_captions_are_a_template_of_text_or_category(about, caption):
    results = dict(about, sample_id='x', depth_views=np.zeros((2, 4, 4), np.float32))
    pack = TRANSFORMS.build(dict(type='PackShapeInputs', caption='a depth map of a {}'))
    assert pack(dict(results))['data_samples'].caption == caption
    assert "caption='a depth map of a {}'" in repr(pack)
    assert 'caption' not in TRANSFORMS.build(dict(type='PackShapeInputs'))(dict(results))['data_samples']


def test_objects_without_words_and_templates_without_a_place_are_refused():
    pack = TRANSFORMS.build(dict(type='PackShapeInputs', caption='{}'))
    with pytest.raises(ValueError, match="x: no 'text' or 'category' for the caption '{}'"):
        pack(dict(sample_id='x', category='', depth_views=np.zeros((2, 4, 4), np.float32)))
    with pytest.raises(ValueError, match="'a photo' has no '{}'"):
        TRANSFORMS.build(dict(type='PackShapeInputs', caption='a photo'))


def test_captions_of_the_released_training_set_come_from_a_file(tmp_path):
    init_default_scope('mmdet3d')
    names = list(write_released_training_set(tmp_path))
    config = dict(type='DepthAlignedShapes', data_root=str(tmp_path), captions='captions.json',
                  pipeline=[dict(type='LoadDepthViews'), dict(type='PackShapeInputs', caption='{}')])
    (tmp_path / 'shapenet/captions.json').write_text(json.dumps({name: f'an object {name}' for name in names}))
    dataset = DATASETS.build(config)
    assert [item['data_samples'].caption for item in dataset] == [f'an object {name}' for name in sorted(names)]
    (tmp_path / 'shapenet/captions.json').write_text(json.dumps({names[0]: 'a chair'}))
    with pytest.raises(ValueError, match=rf'captions.json has no text for 2 of 3 objects .*{sorted(names)[1]}'):
        DATASETS.build(config)
    with pytest.raises(FileNotFoundError, match='nowhere.json'):
        DATASETS.build(dict(config, captions='nowhere.json'))
