"""PointCLIP and CLIP2Point: weighted views, sentences, adapters, losses, few-shot subsets, and their transforms."""
import json
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from helpers.tiny_clip import TINY_CLIP
from opendlign_mm.datasets.transforms import RandomAxisScaleShift, RenderDepthPair, SelectPoints
from opendlign_mm.evaluation.few_shot import draw_shots
from opendlign_mm.evaluation.few_shot_dataset import FewShotSubset
from opendlign_mm.evaluation.prompt_search import search_sentences, search_view_weights
from opendlign_mm.models import (
    CLIP2Point,
    CLIPDepthBackbone,
    CLIPTwinBackbone,
    InterViewAdapter,
    PointCLIP,
    WeightedViewHead,
    ZeroShotHead,
)
from opendlign_mm.models.clip2point import nt_xent
from opendlign_mm.structures import ShapeDataSample

NAMES = ('chair', 'night_stand', 'sofa')


def random(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def pointclip(**options):
    return PointCLIP(CLIPDepthBackbone('tiny', model_config=TINY_CLIP, num_blocks=0), WeightedViewHead(NAMES),
                     **options).eval()


def clip2point(**options):
    return CLIP2Point(CLIPTwinBackbone('tiny', model_config=TINY_CLIP),
                      ZeroShotHead(NAMES, ['image of a {}'], 'sum', 'tuned'), **options).eval()


# --- head -------------------------------------------------------------------------------------------------------------

def test_scores_are_weighted_sums_of_cosines():
    features, classes, weights = random(2, 3, 8), random(4, 8, seed=1), (.25, 0, 1)
    ours = WeightedViewHead(view_weights=weights, logit_scale=50.).scores(classes, features)
    normal = [array / np.linalg.norm(array, axis=-1, keepdims=True) for array in (features.numpy(), classes.numpy())]
    cosines = np.einsum('bvd,cd->bvc', *normal)
    np.testing.assert_allclose(ours.numpy(), 50 * np.einsum('v,bvc->bc', weights, cosines) / math.sqrt(3), rtol=1e-5)
    plain = WeightedViewHead().class_logits(classes, features)
    np.testing.assert_allclose(plain.numpy(), cosines.sum(1) / math.sqrt(3), rtol=1e-5)
    with pytest.raises(ValueError, match='3 weights.*2 views'):
        WeightedViewHead(view_weights=weights).scores(classes, features[:, :2], clip_logit_scale=1)


def test_sentences_replace_templates(tmp_path):
    def encode(texts):
        return torch.stack([random(8, seed=sum(map(ord, text))) for text in texts])

    given = {'Night stand': ['a box by the bed', 'a low drawer'], 'sofa': 'soft'}
    (tmp_path / 'plain.json').write_text(json.dumps(given))
    (tmp_path / 'found.json').write_text(json.dumps(dict(sentences=given, view_weights=[1, .5])))
    chair = F.normalize(encode(['a chair']), dim=-1)[0]
    stand = F.normalize(F.normalize(encode(['a box by the bed', 'a low drawer']), dim=-1).mean(0), dim=-1)
    for source in (given, tmp_path / 'plain.json', str(tmp_path / 'found.json')):
        head = WeightedViewHead(NAMES, ['a {}'], sentences=source)
        found = head.vocabulary_features(encode)
        torch.testing.assert_close(found, torch.stack((chair, stand, F.normalize(encode(['soft'])[0], dim=-1))))
    assert WeightedViewHead(view_weights=tmp_path / 'found.json').view_weights == (1, .5)
    # The cache distinguishes sentences from templates.
    calls = []
    for sentences in (None, given, None, given):
        head = WeightedViewHead(NAMES, ['a {}'], sentences=sentences, text_cache_dir=tmp_path / 'cache')
        head.vocabulary_features(lambda texts: calls.append(len(texts)) or encode(texts), lambda: 'encoder')
    assert len(calls) == 1 + 3 and len(list((tmp_path / 'cache').iterdir())) == 2
    head.set_vocabulary(['bed', 'lamp'])
    with pytest.raises(ValueError, match='none of the classes bed, lamp'):
        head.vocabulary_features(encode)


@pytest.mark.parametrize('options, message', [
    (dict(view_weights='vit'), 'no view weights'), (dict(view_weights=[0, 0]), 'view_weights must'),
    (dict(view_weights=[1, float('nan')]), 'view_weights must'), (dict(view_weights=3), 'view_weights must'),
    (dict(sentences={'chair': []}), "class 'chair'"), (dict(sentences={'chair': [' ']}), "class 'chair'"),
    (dict(sentences=['chair']), 'must be a dict')])
def test_options_of_the_head_are_checked(options, message):
    with pytest.raises(ValueError, match=message):
        WeightedViewHead(**options)


@pytest.mark.parametrize('option', ['view_weights', 'sentences'])
def test_missing_files_are_named(option):
    with pytest.raises(FileNotFoundError, match='absent.json'):
        WeightedViewHead(**{option: 'absent.json'})


# --- models -----------------------------------------------------------------------------------------------------------

def test_adapters_classify_in_the_place_of_the_head():
    views, samples = random(2, 3, 32, 32), [ShapeDataSample() for _ in range(2)]
    for make, adapter in ((pointclip, 'InterViewAdapter'), (clip2point, 'DualPathAdapter')):
        plain = make()
        adapted = make(adapter=dict(type=adapter, num_views=3), compare_pretrained=True)
        assert adapted.adapter.state_dict()['fusion.ratios' if make is pointclip else 'tuned.0.ratios'].shape == (3, )
        predicted = adapted(dict(depth_views=views), samples, mode='predict')
        scores = torch.stack([sample.pred_scores for sample in predicted])
        torch.testing.assert_close(scores, adapted.zero_shot(views))
        assert (scores - plain.zero_shot(views)).abs().max() > 1e-4
        compared = torch.stack([sample.pred_scores_pretrained for sample in predicted])
        torch.testing.assert_close(compared, plain.zero_shot(views))  # the copy of the tower is still CLIP's
        scale = float(adapted.backbone.logit_scale.exp()) if make is pointclip else 1
        torch.testing.assert_close(adapted.class_logits(views) * scale, scores)
        torch.testing.assert_close(adapted.class_logits_of(adapted.encode_for_classes(views)) * scale, scores)
        features = adapted.encode_inputs(dict(depth_views=views))
        torch.testing.assert_close(adapted.scores_of_features(features), plain.zero_shot(views))
        with pytest.raises(ValueError, match='takes 3 views, got 2'):
            adapted.zero_shot(views[:, :2])


def test_smoothed_part_of_the_target_goes_to_the_other_classes():
    model = pointclip(adapter=dict(type='InterViewAdapter', num_views=3))
    views = random(4, 3, 32, 32)
    labels = [0, 2, 1, 1]
    loss = model(dict(depth_views=views), [ShapeDataSample().set_gt_label(label) for label in labels], mode='loss')
    log = model.zero_shot(views).double().log_softmax(1).numpy()
    target = np.full((4, 3), .1)
    target[range(4), labels] = .8
    assert float(loss['loss_classification']) == pytest.approx(-(target * log).sum(1).mean(), rel=1e-5)
    assert float(loss['accuracy']) == pytest.approx((log.argmax(1) == labels).mean())
    for samples, message in ((None, 'labels'), ([ShapeDataSample()] * 4, 'labels'),
                             ([ShapeDataSample().set_gt_label(3)] * 4, 'label 3.*3 classes'),
                             ([ShapeDataSample().set_gt_label(1)], '4 objects, but 1')):
        with pytest.raises(ValueError, match=message):
            model(dict(depth_views=views), samples, mode='loss')
    with pytest.raises(RuntimeError, match='without an adapter'):
        pointclip()(dict(depth_views=views), samples, mode='loss')


def test_pretraining_has_a_gradient_of_the_copy_alone():
    model = clip2point().train()
    inputs = dict(depth_views=random(3, 2, 32, 32), images=random(3, 2, 3, 32, 32, seed=1))
    losses = model(inputs, mode='loss')
    sum(value for key, value in losses.items() if 'loss' in key).backward()
    with_gradient = {name for name, value in model.named_parameters() if value.grad is not None}
    assert all(name.startswith('backbone.tuned_visual.') for name in with_gradient - {'depth_weight'})
    assert 'backbone.tuned_visual.conv1.weight' in with_gradient and 'depth_weight' in with_gradient
    # Features of the images in their place.
    features = model.backbone(inputs['images'][:, 0], ('pretrained', ))['pretrained'][:, None]
    stored = model(dict(depth_views=inputs['depth_views'], image_features=features), mode='loss')
    torch.testing.assert_close(stored['loss_image'], losses['loss_image'])
    with pytest.raises(ValueError, match='two depth views'):
        model(dict(inputs, depth_views=random(3, 3, 32, 32)), mode='loss')
    with pytest.raises(ValueError, match="'images'"):
        model(dict(depth_views=inputs['depth_views']), mode='loss')


def test_nt_xent_by_hand():
    first, second = random(2, 5).double(), random(2, 5, seed=1).double()
    features = np.concatenate([first.numpy(), second.numpy()])
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    similarity = np.exp(features @ features.T / .1)
    expected = np.mean([-np.log(similarity[i, (i + 2) % 4] / (similarity[i].sum() - similarity[i, i]))
                        for i in range(4)])
    assert float(nt_xent(first, second, .1)) == pytest.approx(expected)


def test_shapes_are_embedded_by_the_depth_tower():
    model = clip2point()
    with torch.no_grad():
        model.backbone.tuned_visual.proj.add_(.1)
    views = random(2, 3, 32, 32)
    expected = F.normalize(model.encode_views(views, 'tuned').mean(1), dim=-1)
    torch.testing.assert_close(model.embed_shapes(views), expected)
    torch.testing.assert_close(CLIP2Point(model.backbone).embed_shapes(views), expected)


def test_twin_backbone_keeps_its_copy_and_refuses_options_without_meaning():
    backbone = CLIPTwinBackbone('tiny', model_config=TINY_CLIP)
    with torch.no_grad():
        backbone.tuned_visual.proj.add_(.1)
    state = backbone.state_dict()
    assert not any(key.startswith('clip.') for key in state)
    other = CLIPTwinBackbone('tiny', model_config=TINY_CLIP, frozen=True)
    other.load_state_dict(state)
    views = random(2, 3, 32, 32)
    for branch, values in backbone.eval()(views).items():
        torch.testing.assert_close(other.eval()(views)[branch], values)
    assert not any(value.requires_grad for value in other.parameters()) and not other.train().tuned_visual.training
    assert backbone(views[:0], ('tuned', ))['tuned'].shape == (0, 32)
    with pytest.raises(RuntimeError, match='tiny'):
        CLIPTwinBackbone('tiny', model_config=TINY_CLIP, random_seed=1).load_state_dict(state)
    with pytest.raises(ValueError, match="no 'num_blocks'"):
        CLIPTwinBackbone('tiny', model_config=TINY_CLIP, num_blocks=1)
    with pytest.raises(ValueError, match="no branch 'both'"):
        backbone(views, ('both', ))


@pytest.mark.parametrize('make, message', [
    (lambda: pointclip(label_smoothing=1.), 'label_smoothing'), (lambda: clip2point(temperature=0.), 'temperature'),
    (lambda: PointCLIP(CLIPDepthBackbone('tiny', model_config=TINY_CLIP, num_blocks=0),
                       ZeroShotHead(NAMES, branches='pretrained')), 'WeightedViewHead'),
    (lambda: CLIP2Point(CLIPDepthBackbone('tiny', model_config=TINY_CLIP)), 'CLIPTwinBackbone'),
    (lambda: InterViewAdapter(share=2), 'share must')])
def test_parts_that_do_not_fit_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


# --- searches ---------------------------------------------------------------------------------------------------------

def test_searches_by_hand():
    """View 1 is right about both objects, view 0 about none; sentence 1 of class 0 is right."""
    products = torch.tensor([[[0., 1], [.6, 0]], [[1., 0], [0, .6]]])
    found = search_view_weights(products, torch.tensor([0, 1]), values=(.5, 1))
    assert (found.before, found.after, found.chosen) == (0., 100., [.5, 1.])
    assert search_view_weights(products, torch.tensor([0, 1]), values=(.5, 1), fixed=[1.]).chosen == [1., 1.]
    features, library = torch.eye(2)[:, None], [torch.tensor([[0., 1], [1, 0]]), torch.tensor([[0., 1]])]
    found = search_sentences(features, torch.tensor([0, 1]), library, torch.tensor([[0., .5], [0, .4]]))
    assert found.before == 50. and found.chosen == [1, -1] and found.improvements == [100.]
    # Of equal scores the first class is taken, as by argmax.
    for label, chosen in ((0, [0, -1]), (1, [-1, -1])):
        start = torch.tensor([[.5], [.5]])
        start[label] = .2
        found = search_sentences(torch.ones(1, 1, 1), torch.tensor([label]), [torch.tensor([[.5]])] * 2, start)
        assert found.chosen == chosen
    with pytest.raises(ValueError, match='needs objects'):
        search_view_weights(products[:0], torch.zeros(0))
    with pytest.raises(ValueError, match='all 2 classes'):
        search_sentences(features, torch.tensor([0, 1]), library[:1], torch.eye(2))


# --- data -------------------------------------------------------------------------------------------------------------

class Labeled:
    metainfo = dict(classes=NAMES)

    def __init__(self, labels):
        self.labels = labels

    def __len__(self):
        return len(self.labels)

    def get_data_info(self, index):
        return {} if self.labels[index] is None else dict(gt_label=self.labels[index], sample_id=index)

    def __getitem__(self, index):
        return index


def test_subset_has_the_draw_of_few_shot_classification():
    labels = [0, 1, 0, 1, 0, 1, 2]
    subset = FewShotSubset(Labeled(labels), shots=2, seed=5)
    assert [subset[index] for index in range(len(subset))] == draw_shots(np.array(labels), 2, 5).tolist()
    assert len(subset) == 5 and subset.metainfo['classes'] == NAMES and subset.get_data_info(4)['sample_id'] == 6
    with pytest.raises(ValueError, match='without a class'):
        FewShotSubset(Labeled([0, None]))


def test_points_are_selected_and_augmented():
    points = random(50, 3)
    assert torch.equal(SelectPoints(7)(dict(points=points))['points'], points[:7])
    assert torch.equal(SelectPoints(60)(dict(points=points))['points'], points)
    corners = torch.cat((torch.zeros(30, 3), torch.eye(3)))
    furthest = SelectPoints(4, 'furthest')(dict(points=corners))['points']
    assert sorted(furthest.tolist()) == sorted(corners[-4:].tolist())
    np.random.seed(0)
    moved = RandomAxisScaleShift()(dict(points=points))['points']
    order = [int((moved[:, :1] - moved[index, 0]).abs().argmin()) for index in range(50)]
    assert sorted(order) == list(range(50)) and not torch.equal(moved, points)
    scale = (moved.amax(0) - moved.amin(0)) / (points.amax(0) - points.amin(0))
    assert ((scale > 2 / 3) & (scale < 3 / 2)).all() and len({round(float(value), 3) for value in scale}) == 3
    shift = moved.mean(0) - points.mean(0) * scale
    assert (shift.abs() < .2).all() and (shift.abs() > 1e-4).all()


def test_a_depth_pair_shows_one_side_at_two_distances():
    transform = RenderDepthPair(dict(resolution=40, radius=.1, views=[(0, 0), (90, 0)]), (.5, 1.5))
    images = np.stack([np.full((4, 4, 3), value, np.uint8) for value in (7, 9)])
    seen = set()
    for seed in range(6):
        np.random.seed(seed)
        results = transform(dict(points=random(60, 3), images=images))
        assert results['depth_views'].shape == (2, 40, 40) and results['images'].shape == (2, 4, 4, 3)
        view = {7: 0, 9: 1}[int(results['images'][0, 0, 0, 0])]
        seen.add(view)
        np.random.seed(seed)
        assert np.random.randint(2) == view
        for depth, distance in zip(results['depth_views'], (np.random.uniform(.5, 1.5), np.random.uniform(.5, 1.5))):
            expected = transform.projection([random(60, 3)], view, distance)[0, 0]
            np.testing.assert_array_equal(depth, expected.numpy())
    assert seen == {0, 1}
    with pytest.raises(ValueError, match="1 'images', the projection has 2 views"):
        transform(dict(points=random(5, 3), images=images[:1]))
