"""TriModalAligner and its head: losses by hand, several processes, embeddings, scores, and what is refused."""
import copy

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from mmengine.config import Config
from mmengine.model import MMDistributedDataParallel

from helpers.gloo_processes import run_in_processes
from helpers.tri_modal import DIM, tri_modal, tri_modal_config, triplets
from opendlign_mm.apis.shape_inferencer import ShapeInferencer
from opendlign_mm.models import ImageAdapterAligner, TriModalContrastiveHead
from opendlign_mm.models.checkpoints import load_checkpoint
from opendlign_mm.models.stored_class_features import StoredClassFeatures
from opendlign_mm.structures import ShapeDataSample


def total(losses):
    return sum(value for key, value in losses.items() if key.startswith('loss'))


def test_loss_of_several_images_and_missing_texts_by_hand():
    shape, text, image = (torch.randn(5, 8, generator=torch.Generator().manual_seed(seed)) for seed in range(3))
    has_text = torch.tensor([True, False, True, True, False])
    head = TriModalContrastiveHead(3., text_weight=2., image_weight=.5)
    losses = head.loss(dict(text=shape, image=2 * shape), text, torch.stack([image, text], dim=1), has_text)

    def by_hand(first, second):
        first, second = (rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (first.numpy(), second.numpy()))
        odds = np.exp(3. * first @ second.T)
        own = np.diagonal(odds)
        return -(np.log(own / odds.sum(1)).mean() + np.log(own / odds.sum(0)).mean()) / 2

    assert losses['loss_text'].item() == pytest.approx(2 * by_hand(shape[has_text], text[has_text]), abs=1e-5)
    assert losses['loss_image'].item() == pytest.approx(.5 * (by_hand(shape, image) + by_hand(shape, text)), abs=1e-5)


def test_a_batch_without_texts_trains_on_images_and_still_gives_each_parameter_a_gradient():
    model, inputs = tri_modal(adapters=True), triplets()
    inputs['has_text'] = torch.zeros(4, dtype=torch.bool)
    losses = model(inputs, mode='loss')
    assert losses['loss_text'] == 0 and losses['loss_image'] > 0
    total(losses).backward()
    without = [name for name, value in model.named_parameters() if value.requires_grad and value.grad is None]
    assert not without
    gradients = {name: model.adapters[name].layers[0].weight.grad for name in ('text', 'image')}
    assert not gradients['text'].any() and gradients['image'].any()


def test_the_scale_of_ulip_stays_below_100():
    head = TriModalContrastiveHead(1000., max_logit_scale=100.)
    features = torch.randn(3, 4)
    assert head.loss(dict(text=features, image=features), features, features[:, None])['logit_scale'] == pytest.approx(
        100., rel=1e-5)


@pytest.mark.parametrize('gather_gradient', [True, False])
def test_two_processes_equal_one(gather_gradient):
    """The number of texts differs: two of the first process, one of the second."""
    inputs = triplets(6)
    inputs['has_text'] = torch.tensor([True, False, True, False, False, True])
    reference = tri_modal(clip=False).eval()  # batch norms normalize by the samples of their own process
    reference.alignment_head.gather_gradient = gather_gradient
    losses = reference(inputs, mode='loss')
    total(losses).backward()
    expected = {key: value.grad for key, value in reference.named_parameters()}

    def of_process(rank):
        model = copy.deepcopy(reference)
        model.zero_grad()
        wrapped = MMDistributedDataParallel(model)
        half = {key: value.chunk(2)[rank] for key, value in inputs.items()}
        own = wrapped(half, mode='loss')
        total(own).backward()
        return ({key: value.detach().numpy() for key, value in own.items()},
                {key: value.grad.numpy() for key, value in model.named_parameters()})

    results = run_in_processes(of_process, 2)
    for key in ('loss_text', 'loss_image'):
        values = [own[key] for own, _ in results]
        assert np.mean(values) == pytest.approx(losses[key].item(), abs=1e-5)
        assert not gather_gradient or values[0] == pytest.approx(values[1], abs=1e-6)
    if gather_gradient:
        for key, value in expected.items():
            np.testing.assert_allclose(results[0][1][key], value.numpy(), rtol=1e-3, atol=1e-4, err_msg=key)


@pytest.mark.parametrize('encoder', ['bert', 'patches', 'sparse'])
def test_two_steps_lower_the_loss(encoder):
    model, inputs = tri_modal(encoder, clip=False).train(), triplets(8)
    optimizer = torch.optim.SGD(model.parameters(), lr=.002)
    values = []
    for _ in range(3):
        torch.manual_seed(0)  # of dropout
        loss = total(model(inputs, mode='loss'))
        values.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert values[2] < values[1] < values[0]


@torch.no_grad()
def test_scores_are_cosines_with_the_classes():
    model, inputs = tri_modal().eval(), triplets()
    model.set_vocabulary(['chair', 'night_stand', 'sofa'])
    samples = model(inputs, mode='predict')
    embedding = model.encode_points(inputs['points'], inputs['colors'])
    assert embedding.shape == (4, DIM) and embedding.dtype == torch.float32
    texts = model.text_encoder.encode_text(['a chair', 'a night stand', 'a sofa'])
    expected = F.normalize(embedding, dim=-1) @ F.normalize(texts, dim=-1).T
    torch.testing.assert_close(torch.stack([sample.pred_scores for sample in samples]), expected, atol=1e-6, rtol=0)
    assert samples[0].class_names == ('chair', 'night_stand', 'sofa')
    # A list of clouds gives what a batch gives.
    torch.testing.assert_close(model.zero_shot(list(inputs['points']), list(inputs['colors'])), expected, atol=1e-6,
                               rtol=0)
    assert (model(inputs)['pretrained'].norm(dim=-1) - 1).abs().max() < 1e-5


@torch.no_grad()
def test_tamm_adds_half_the_cosine_of_the_image_adapter():
    model, inputs = tri_modal(adapters=True, return_embeddings=True).eval(), triplets()
    model.set_vocabulary(['chair', 'sofa'])
    samples = model(inputs, mode='predict')
    towards = model.encode_points(inputs['points'], inputs['colors'])
    texts = F.normalize(model.text_encoder.encode_text(['a chair', 'a sofa']), dim=-1)
    text, image = (F.normalize(towards[name], dim=-1) for name in ('text', 'image'))
    expected = text @ texts.T + .5 * image @ texts.T
    torch.testing.assert_close(torch.stack([sample.pred_scores for sample in samples]), expected, atol=1e-6, rtol=0)
    pooled = torch.stack([sample.depth_embedding for sample in samples])
    torch.testing.assert_close(pooled, F.normalize(text + .5 * image, dim=-1), atol=1e-6, rtol=0)
    adapted = F.normalize(model.image_adapter(F.normalize(inputs['image_features'][:, 0], dim=-1)), dim=-1)
    torch.testing.assert_close(torch.stack([sample.image_embedding for sample in samples]), adapted, atol=1e-6, rtol=0)
    assert not any(value.requires_grad for value in model.image_adapter.parameters())


@torch.no_grad()
def test_raw_texts_and_images_give_the_loss_of_their_features():
    model, inputs = tri_modal().eval(), triplets()
    images = torch.rand(4, 2, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    texts = ['a cup', None, 'a lamp', 'a bed']
    stored = dict(points=inputs['points'], text_features=model.text_encoder.encode_text([text or '' for text in texts]),
                  has_text=torch.tensor([True, False, True, True]),
                  image_features=model.text_encoder(images.flatten(0, 1))['pretrained'].unflatten(0, (4, 2)))
    samples = [ShapeDataSample(metainfo=dict(text=text) if text else {}) for text in texts]
    raw = model(dict(points=inputs['points'], images=images), samples, mode='loss')
    for key, value in model(stored, mode='loss').items():
        torch.testing.assert_close(raw[key], value, atol=1e-5, rtol=0)


def test_stored_class_features_replace_the_clip(tmp_path):
    features = torch.randn(3, DIM)
    StoredClassFeatures.write(tmp_path / 'classes.npz', ['chair', 'night_stand', 'sofa'], features)
    model, inputs = tri_modal(clip=False, class_features=str(tmp_path / 'classes.npz')).eval(), triplets()
    assert model(inputs, mode='predict')[0].class_names == ('chair', 'night_stand', 'sofa')
    model.set_vocabulary(['sofa', 'night stand'])
    with torch.no_grad():
        scores = model.zero_shot(inputs['points'], inputs['colors'])
        embedding = F.normalize(model.encode_points(inputs['points'], inputs['colors']), dim=-1)
    torch.testing.assert_close(scores, embedding @ F.normalize(features[[2, 1]], dim=-1).T, atol=1e-6, rtol=0)
    model.set_vocabulary(['sofa', 'lamp'])
    with pytest.raises(ValueError, match='classes.npz has no features of the classes lamp'):
        model.zero_shot(inputs['points'])
    (tmp_path / 'damaged.npz').write_bytes(b'PK')
    with pytest.raises(ValueError, match='damaged.npz is not a file of class features'):
        StoredClassFeatures(tmp_path / 'damaged.npz')


def test_checkpoints_fit_with_and_without_the_clip():
    with_clip, without = tri_modal(seed=1), tri_modal(clip=False, seed=2)
    assert not any('.clip.' in key for key in with_clip.state_dict())
    load_checkpoint(without, dict(with_clip.state_dict()), 'of a training')
    expected = dict(with_clip.point_encoder.state_dict())
    assert all(torch.equal(value, expected[key]) for key, value in without.point_encoder.state_dict().items())
    load_checkpoint(tri_modal(seed=3), dict(without.state_dict()), 'converted')
    other = tri_modal(seed=4)
    next(other.text_encoder.clip.parameters()).data.add_(1)
    with pytest.raises(RuntimeError, match='the checkpoint was trained on CLIP'):
        load_checkpoint(other, dict(with_clip.state_dict()), 'of another CLIP')


def test_first_stage_of_tamm_trains_the_image_adapter_alone():
    model = ImageAdapterAligner(dict(type='CLIPImageAdapter', channels=DIM))
    inputs = triplets(8, images=2)
    optimizer, values = torch.optim.Adam(model.parameters(), lr=1e-3), []
    for _ in range(3):
        loss = total(model(inputs, mode='loss'))
        values.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert values[2] < values[1] < values[0]
    assert model(inputs).shape == (8, 2, DIM)
    with pytest.raises(ValueError, match="modes 'loss' and 'tensor', got 'predict'"):
        model(inputs, mode='predict')


def test_what_cannot_be_right_is_refused():
    model, inputs = tri_modal(clip=False), triplets()
    with pytest.raises(RuntimeError, match='built without a CLIP'):
        model.set_vocabulary(['chair'])
        model.zero_shot(inputs['points'])
    with pytest.raises(ValueError, match="inputs have no 'points'"):
        model({}, mode='loss')
    with pytest.raises(ValueError, match="needs 'image_features' or 'images'"):
        model(dict(points=inputs['points']), mode='loss')
    with pytest.raises(ValueError, match='image features must have shape'):
        model(dict(inputs, image_features=torch.randn(4, 1, 8)), mode='loss')
    with pytest.raises(ValueError, match='text features must have shape'):
        model(dict(inputs, text_features=torch.randn(4, 8)), mode='loss')
    with pytest.raises(ValueError, match="aggregation='sum'"):
        tri_modal(zero_shot_head=dict(type='ZeroShotHead'))
    model.alignment_head.negatives_per_group = 2
    with pytest.raises(ValueError, match='needs a batch of whole groups'):
        model(inputs, mode='loss')


def test_the_inferencer_takes_a_point_encoder(tmp_path):
    config = Config(dict(
        default_scope='mmdet3d', model=tri_modal_config(adapters=True),
        test_dataloader=dict(dataset=dict(pipeline=[
            dict(type='ArrangePoints', layout='y_up'), dict(type='PackPointInputs', num_points=60)]))))
    model = tri_modal(adapters=True, seed=3).eval()
    torch.save(dict(state_dict=model.state_dict()), tmp_path / 'trained.pth')
    inferencer = ShapeInferencer(config, tmp_path / 'trained.pth', device='cpu', show_progress=False)
    words, (first, second) = ['chair', 'sofa', 'lamp'], np.random.default_rng(0).random((2, 60, 3))
    found = inferencer([first, second[:50]], words, top_k=3, embed=True, up='z')['predictions']
    model.set_vocabulary(words)
    y_up = torch.from_numpy(first[:, [0, 2, 1]] * [1, 1, -1])
    y_up = y_up - y_up.mean(dim=0)
    points = (y_up / y_up.norm(dim=1).max()).float()[None]
    with torch.no_grad():
        expected = (model.zero_shot(points) / .01).softmax(dim=-1)[0]
        embedding = model.embed_shapes(points)[0]
    torch.testing.assert_close(torch.tensor(found[0]['embedding']), embedding, atol=1e-5, rtol=0)
    assert found[0]['labels'] == [words[index] for index in expected.argsort(descending=True)]
    assert found[0]['scores'] == pytest.approx(expected.sort(descending=True).values.tolist(), abs=1e-3)
    assert set(found[1]['labels']) == set(words)
