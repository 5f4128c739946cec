"""PointCLIP, PointCLIP V2 and CLIP2Point against the outputs of their released code on stand-in weights."""
import json
from functools import partial
from types import SimpleNamespace

import numpy as np
import open_clip
import pytest
import torch

from helpers.parity import stand_in_weights
from helpers.tiny_clip import tiny_clip
from opendlign_mm.evaluation.prompt_search import search_sentences, search_view_weights
from opendlign_mm.models import (
    CLIP2Point,
    CLIPDepthBackbone,
    CLIPTwinBackbone,
    DualPathAdapter,
    PointCLIP,
    WeightedViewHead,
    ZeroShotHead,
)
from opendlign_mm.models.released_view_systems import (
    from_released_clip2point,
    from_released_path,
    from_released_pointclip,
    to_released_clip2point,
    to_released_pointclip,
)
from opendlign_mm.models.weighted_view_head import VIEW_WEIGHTS
from opendlign_mm.projection import PointCLIPProjection, RenderedDepthProjection
from opendlign_mm.structures import ShapeDataSample


@pytest.fixture(scope='module')
def fixture(shared_dir):
    weights = stand_in_weights(shared_dir)

    def load(name):
        facts = json.loads((shared_dir / f'parity/baselines/{name}.json').read_text())
        with np.load(shared_dir / f'parity/baselines/{name}.npz') as arrays:
            return SimpleNamespace(facts=facts, weights=weights,
                                   arrays={key: torch.from_numpy(arrays[key]) for key in arrays.files})

    return load


def close(ours, expected, noise):
    torch.testing.assert_close(ours.detach().float(), expected, rtol=0, atol=10 * noise)


def y_up_to_z_up(points):
    x, y, z = points.unbind(-1)
    return torch.stack((x, -z, y), -1)


# --- projections ------------------------------------------------------------------------------------------------------

def test_pointclip_projection(shared_dir):
    data = np.load(shared_dir / 'parity' / 'released' / 'projections.npz')
    project = PointCLIPProjection(normalize=False, output_resolution=None)
    depth_views = project(y_up_to_z_up(torch.from_numpy(data['points']))[None])[0]
    close(depth_views * project.max_depth, torch.from_numpy(data['pointclip']), 1e-7)


@pytest.mark.parametrize('backend', ['numba', 'torch'])
@pytest.mark.parametrize('views, yaw', [(10, 90), (6, 0)])
def test_clip2point_rendering(fixture, backend, views, yaw):
    """The ten views are those of data with z up, as ModelNet40; the six those of data with y up."""
    arrays = fixture('clip2point').arrays
    points = arrays['points'] if views == 10 else y_up_to_z_up(arrays['points'])
    project = RenderedDepthProjection('few_shot' if views == 10 else 'zero_shot', yaw=yaw, backend=backend,
                                      normalize=False)
    depth_views = project(points)
    close(depth_views[:, :, 2::6, 2::6], arrays[f'depth_{views}'], 1.5e-7)
    close(depth_views.mean((2, 3)), arrays[f'depth_{views}_mean'], 1.5e-7)
    assert torch.equal((depth_views < 1).sum((2, 3)), arrays[f'depth_{views}_filled'])


# --- heads and adapters -----------------------------------------------------------------------------------------------

def normalized(tensor):
    return torch.nn.functional.normalize(tensor, dim=-1)


@torch.no_grad()
@pytest.mark.parametrize('channels', [512, 1024])
def test_pointclip_adapter(fixture, channels):
    pointclip = fixture('pointclip')
    facts, tensor, seed = pointclip.facts[f'adapter_{channels}'], pointclip.weights.tensor, pointclip.facts['seed']
    model = PointCLIP(stub_backbone(channels), adapter=dict(type='InterViewAdapter'))
    released = pointclip.weights.state(facts['shapes'], seed)
    state = from_released_pointclip(released)
    model.adapter.load_state_dict(state)
    assert all(torch.equal(value, released[key]) for key, value in to_released_pointclip(model.adapter).items())
    model.eval()
    features = (tensor(f'features{channels}', (60, channels), seed) * 8).view(6, 10, channels)
    close(model.adapter(features).flatten(1)[:, ::channels // 64], pointclip.arrays[f'adapter_{channels}'],
          facts['noise'])
    text = normalized(tensor(f'text{channels}', (40, channels), seed))
    model.set_vocabulary([f'class {index}' for index in range(40)])
    model.class_features = lambda: text
    logits = model._scores(dict(raw_pretrained=features))
    close(logits, pointclip.arrays[f'fewshot_logits_{channels}'], 3e-6)
    samples = [ShapeDataSample().set_gt_label(label) for label in range(0, 18, 3)]
    model._raw_features = lambda views: dict(raw_pretrained=features)
    loss = model(dict(depth_views=torch.rand(6, 10, 4, 4)), samples, mode='loss')
    assert float(loss['loss_classification']) == pytest.approx(facts['smooth_loss'], rel=1e-5)


@torch.no_grad()
@pytest.mark.parametrize('views, channels', [(6, 1024), (10, 512)])
def test_zero_shot_logits(fixture, views, channels):
    pointclip = fixture('pointclip')
    tensor, seed = pointclip.weights.tensor, pointclip.facts['seed']
    features = tensor(f'zs{views}', (3 * views, channels), seed).view(3, views, channels)
    text = tensor(f'zstext{views}', (15, channels), seed)
    close(WeightedViewHead().scores(text, features, clip_logit_scale=100), pointclip.arrays[f'zeroshot_logits_{views}'],
          3e-6)
    assert {name: list(weights) for name, weights in VIEW_WEIGHTS.items()} == pointclip.facts['v2_view_weights']
    head = WeightedViewHead(view_weights='scanobjectnn_vit_b16')
    features, text = tensor('v2', (30, 512), seed).view(3, 10, 512), tensor('v2text', (15, 512), seed)
    close(head.scores(text, features, clip_logit_scale=100), pointclip.arrays['v2_logits'], 3e-6)
    close(100 * head.class_logits(text, features), pointclip.arrays['v2_logits'], 3e-6)


def test_clip2point_loss(fixture):
    clip2point = fixture('clip2point')
    tensor, seed = clip2point.weights.tensor, clip2point.facts['seed']
    first = tensor('depth1', (8, 512), seed)
    second, image = .15 * first + tensor('depth2', (8, 512), seed), .1 * first + tensor('image', (8, 512), seed)
    model = CLIP2Point(stub_backbone(512, twin=True))
    for expected in clip2point.facts['loss']:
        model.depth_weight.data.fill_(expected['weights'])
        losses = model.contrast(first, second, image)
        assert float(losses['loss_image']) == pytest.approx(expected['image'], rel=1e-5)
        assert float(losses['loss_depth']) * expected['weights']**2 == pytest.approx(expected['depth'], rel=1e-5)
        total = losses['loss_image'] + losses['loss_depth'] + losses['loss_weight']
        assert float(total) == pytest.approx(expected['total'], rel=1e-5)


def stub_backbone(channels, twin=False):
    """A CLIP with features of that length and few parameters."""
    config = tiny_clip(embed_dim=channels, width=8, layers=1)
    kind = CLIPTwinBackbone if twin else partial(CLIPDepthBackbone, num_blocks=0)
    backbone = kind('tiny', model_config=config)
    backbone.clip.logit_scale.data.fill_(np.log(100))
    return backbone


@torch.no_grad()
def test_clip2point_networks(fixture):
    """The whole ViT-B/32 with its pre-trained copy, and the dual-path adapter."""
    clip2point = fixture('clip2point')
    facts, weights = clip2point.facts, clip2point.weights
    arrays = {name: values[:1] for name, values in clip2point.arrays.items()}  # one of two objects
    config = open_clip.get_model_config('ViT-B-32-quickgelu')
    config['text_cfg'].update(width=64, heads=2, layers=1)
    backbone = CLIPTwinBackbone('ViT-B-32-quickgelu', model_config=config, pixel_mean='clip', pixel_std='clip')
    head = ZeroShotHead([f'class {index}' for index in range(40)], aggregation='sum', branches='tuned')
    text = normalized(weights.tensor('text', (40, 512), facts['seed']))
    noise = facts['noise']

    model = CLIP2Point(backbone, head).eval()
    model.class_features = lambda: text
    shapes = facts['pretrained']['shapes']
    released = weights.state(shapes, facts['seed'])
    clip = {key.replace('point_model.', 'image_model.'): value for key, value in backbone.clip.visual.state_dict(
        prefix='image_model.').items()}
    state, left_out = from_released_clip2point({f'module.{key}': value for key, value in {**released, **clip}.items()},
                                               model)
    assert not left_out
    model.load_state_dict(state, strict=False)
    depth_views = RenderedDepthProjection('few_shot', yaw=90, normalize=False)(arrays['points'])
    features = model.encode_views(depth_views, 'tuned')
    close(features, arrays['features_10'], noise['features'])
    close(model.scores_of_features(dict(tuned=features)), arrays['logits_10'], 10 * noise['features'])
    six = RenderedDepthProjection(normalize=False)(y_up_to_z_up(arrays['points']))
    features = model.encode_views(six, 'tuned')
    close(features, arrays['features_6'], noise['features'])
    close(model.scores_of_features(dict(tuned=features)), arrays['logits_6'], 6 * noise['features'])

    dual = CLIP2Point(backbone, head, dict(type='DualPathAdapter')).eval()
    dual.class_features = lambda: text
    released = weights.state(facts['dpa_model']['shapes'], facts['dpa_model']['seed'])
    # The frozen CLIP of the file is that of the model.
    backbone.clip.visual.load_state_dict({key.removeprefix('ori_model.'): value for key, value in released.items()
                                          if key.startswith('ori_model.')})
    state, left_out = from_released_clip2point(released, dual)
    assert not left_out
    dual.load_state_dict(state, strict=False)
    raw = dual._raw_features(depth_views)
    close(dual.adapter.tuned(raw['raw_tuned']), arrays['dpa_adapter1'], noise['dpa'] * 10)
    close(normalized(dual.adapter(raw['raw_tuned'], raw['raw_pretrained'])), arrays['dpa'], noise['dpa'])
    close(dual._scores(raw), arrays['dpa_logits'], noise['dpa'])
    back = to_released_clip2point(dual)
    assert all(torch.equal(back[key], value) for key, value in released.items())


@torch.no_grad()
def test_clip2point_adapter_alone(fixture):
    clip2point = fixture('clip2point')
    facts = clip2point.facts['adapter_alone']
    released = clip2point.weights.state(facts['shapes'], facts['seed'])
    adapter = DualPathAdapter()
    adapter.tuned.load_state_dict(from_released_path(released))
    features = clip2point.weights.tensor('feat', (40, 512), clip2point.facts['seed']).view(4, 10, 512) * 10
    close(adapter.tuned.eval()(features), clip2point.arrays['adapter'], 5e-7)


# --- searches ---------------------------------------------------------------------------------------------------------

def test_search_of_view_weights(fixture):
    pointclip = fixture('pointclip')
    tensor, seed, expected = pointclip.weights.tensor, pointclip.facts['seed'], pointclip.facts['view_search']
    text = tensor('searchtext', (40, 32), seed)
    labels = torch.from_numpy(np.random.RandomState(seed).randint(0, 40, 60))
    shares = torch.linspace(.1, 1.1, 6)[:, None] * .12
    features = normalized(tensor('search', (60, 6, 32), seed) + shares * text[labels][:, None])
    result = search_view_weights(features @ normalized(text).t(), labels)
    # The released search begins with nothing and also counts its first combination, which is as good as weights of 1.
    assert result.chosen == expected['weights'] and len(result.improvements) + 1 == expected['improvements']
    assert (round(result.before, 2), round(result.after, 2)) == (expected['before'], expected['after'])
    fixed = search_view_weights(features @ normalized(text).t(), labels, fixed=expected['weights'][:5])
    assert fixed.chosen == expected['weights'] and fixed.after == result.after


def test_search_of_sentences(fixture):
    pointclip = fixture('pointclip')
    tensor, seed, expected = pointclip.weights.tensor, pointclip.facts['seed'], pointclip.facts['prompt_search']
    library, start = normalized(tensor('library', (6, 5, 32), seed)), normalized(tensor('start', (6, 32), seed))
    labels = torch.from_numpy(np.random.RandomState(seed + 1).randint(0, 6, 48))
    shown = tensor('library', (6, 5, 32), seed)[labels, 2][:, None]
    features = normalized(tensor('psearch', (48, 10, 32), seed) + .08 * shown)
    result = search_sentences(features, labels, list(library), start, expected['view_weights'])
    assert result.chosen == expected['chosen'] and round(result.before, 2) == expected['before']
    assert [round(accuracy, 2) for accuracy in result.improvements] == expected['accuracies']
