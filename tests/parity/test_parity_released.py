"""The model computes what the authors' release computes, from the same weights (stored as data, not as code)."""
import importlib.util
import json

import numpy as np
import pytest
import torch

from opendlign_mm.models import CLIPDepthBackbone, DepthImageContrastiveHead, OpenDlign, ZeroShotHead
from opendlign_mm.models.contrastive_head import object_features
from opendlign_mm.models.released import from_released, load_whole, to_released

TOLERANCE = 1e-5


@pytest.fixture(scope='module')
def parity(shared_dir):
    """Model with the stand-in weights, the input, and the expected outputs."""
    folder = shared_dir / 'parity'
    spec = importlib.util.spec_from_file_location('parity_weights', folder / 'weights.py')
    weights = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(weights)
    description = json.loads((folder / 'released' / 'opendlign_b32.json').read_text())
    expected = np.load(folder / 'released' / 'opendlign_b32.npz')
    released = weights.state(description['shapes'], description['seed'])
    model = OpenDlign(CLIPDepthBackbone('ViT-B-32'), DepthImageContrastiveHead(), ZeroShotHead())
    load_whole(model, from_released(released)[0])
    views = weights.images((2, 10, 3, 224, 224), description['seed'])
    return model.eval(), views, description, expected


def assert_close(actual, expected):
    torch.testing.assert_close(actual.detach().float(), torch.as_tensor(expected).float(), atol=TOLERANCE, rtol=0)


def test_both_branches_and_losses(parity):
    model, views, _, expected = parity
    model.train()
    tuned = model.encode_views(views, 'tuned')  # with a graph, as in training
    assert_close(tuned, expected['tuned'])
    with torch.no_grad():
        both = model.encode_views(views, ('pretrained', 'tuned'))
    assert_close(both['pretrained'], expected['pretrained'])
    assert_close(both['tuned'], expected['tuned'])
    assert_close(object_features(both['tuned']), expected['feature_depth'])

    assert_close(object_features(both['pretrained']), expected['feature_image'])

    # The stored image features are those of the same objects in the same order (asserted above).
    losses = model(dict(depth_views=views, images=views), mode='loss')
    assert_close(losses['loss_contrastive'], expected['loss_contrastive'])
    assert_close(losses['loss_distance'], expected['loss_distance'])
    # Absolute 1e-5 is loose for a distance of 1e-4.
    assert losses['loss_distance'].item() == pytest.approx(expected['loss_distance'].item(), rel=1e-3)


def test_text_features_and_aggregation(parity):
    model, views, description, expected = parity
    model.eval()
    text = torch.nn.functional.normalize(model.backbone.encode_text(description['texts']), dim=-1)
    assert_close(text, expected['text'])
    # One template per text: the vocabulary is the texts themselves.
    model.set_vocabulary([text.removeprefix('a depth map of a ') for text in description['texts']],
                         ['a depth map of a {}'])
    assert_close(model.zero_shot(views), expected['aggregated'])


def test_release_converts_only_releases():
    with pytest.raises(ValueError, match='not a released OpenDlign checkpoint'):
        from_released({'clip_model.visual.proj': torch.zeros(1)})


def test_the_way_back_gives_exactly_the_released_entries(parity):
    model, _, description, _ = parity
    released = to_released(model)
    assert {key: tuple(value.shape) for key, value in released.items()} == {
        key: tuple(shape) for key, shape in description['shapes'].items()}
