"""Losses and outputs of ULIP, OpenShape and TAMM against those of the released code on stand-in weights."""
import json

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from helpers.parity import stand_in_weights
from opendlign_mm.models import CLIPImageAdapter, TriModalContrastiveHead


@pytest.fixture(scope='module')
def weights(shared_dir):
    return stand_in_weights(shared_dir)


@pytest.fixture(scope='module')
def facts(shared_dir, weights):
    return lambda name: json.loads((shared_dir / f'parity/baselines/{name}.json').read_text())


def one_shape(features):
    return dict(text=features, image=features)


def test_ulip_loss(facts, weights):
    expected = facts('losses')
    pc, text, image = (weights.tensor(key, (8, 512), expected['seed']) for key in ('pc', 'text', 'image'))
    text, image = text + .15 * pc, image + .2 * pc
    head = TriModalContrastiveHead(1 / .07, max_logit_scale=100, gather_gradient=False)
    losses = head.loss(one_shape(pc), text, image[:, None])
    assert float(losses['loss_text'] + losses['loss_image']) == pytest.approx(expected['ulip']['loss'], abs=1e-5)
    assert 100 * float(losses['image_accuracy']) == expected['ulip']['ulip_pc_image_acc']
    assert 100 * float(losses['text_accuracy']) == expected['ulip']['ulip_pc_text_acc']


def test_openshape_loss_of_a_batch_in_which_two_shapes_have_no_text(facts, weights):
    expected, seed = facts('losses')['openshape'], facts('losses')['seed']
    pc = weights.tensor('os_pc', (8, 1280), seed)
    image = weights.tensor('os_image', (8, 1280), seed) + .1 * pc
    chosen = [0, 1, 2, 4, 5, 7]
    text = torch.full((8, 1280), float('nan'))  # what stands in the rows without text must not matter
    text[chosen] = weights.tensor('os_text', (6, 1280), seed) + .1 * pc[chosen]
    has_text = torch.zeros(8, dtype=torch.bool).index_fill(0, torch.tensor(chosen), True)
    losses = TriModalContrastiveHead().loss(one_shape(pc), text, image[:, None], has_text)
    for name in ('text', 'image'):
        assert float(losses[f'loss_{name}']) == pytest.approx(expected[name], abs=1e-5)
        assert float(losses[f'{name}_accuracy']) == expected[f'{name}_accuracy']
    assert float(losses['logit_scale']) == pytest.approx(expected['logit_scale'], abs=1e-5)


def test_openshape_mask_of_hard_negatives(facts, weights):
    expected, seed = facts('losses')['openshape_mask'], facts('losses')['seed']
    pc = weights.tensor('os_pc', (8, 1280), seed)
    image = weights.tensor('os_image', (8, 1280), seed) + .1 * pc
    text = weights.tensor('os_text8', (8, 1280), seed) + .1 * pc
    text[1] += .5 * image[0]
    text[5] += .8 * image[4]
    image = image + .5 * text
    for size, ending in ((2, ''), (None, '_without_mask')):
        losses = TriModalContrastiveHead(negatives_per_group=size).loss(one_shape(pc), text, image[:, None])
        assert float(losses['loss_text']) == pytest.approx(expected[f'text{ending}'], abs=1e-5)
        assert float(losses['loss_image']) == pytest.approx(expected[f'image{ending}'], abs=1e-5)


def test_tamm_loss_sums_four_pictures(facts, weights, shared_dir):
    facts = facts('tamm')
    adapter = CLIPImageAdapter()
    state = weights.state(facts['cia']['shapes'], facts['seed'])
    adapter.load_state_dict({key.removeprefix('adapter.'): value for key, value in state.items()})
    image = F.normalize(weights.tensor('image', (6, 5120), facts['seed']).reshape(6, 4, 1280), dim=-1)
    with torch.no_grad():
        adapted = adapter(image)
    with np.load(shared_dir / 'parity/baselines/tamm.npz') as arrays:
        torch.testing.assert_close(adapted[..., ::8], torch.from_numpy(arrays['cia']), rtol=0, atol=1e-6)
    loss, chosen = facts['loss'], facts['loss']['has_text']
    text = torch.zeros(6, 1280)
    text[chosen] = weights.tensor('caption', (4, 1280), facts['seed'])
    shape = torch.zeros(6, 1280)
    shape[chosen] = weights.tensor('pc_text', (6, 1280), facts['seed'])[chosen] + .15 * text[chosen]
    has_text = torch.zeros(6, dtype=torch.bool).index_fill(0, torch.tensor(chosen), True)
    head, total = TriModalContrastiveHead(loss['logit_scale']), 0.
    pc_image = weights.tensor('pc_image', (6, 1280), facts['seed'])
    for index, expected in enumerate(loss['image_losses']):
        towards = dict(text=shape, image=pc_image + .15 * adapted[:, index])
        losses = head.loss(towards, text, adapted[:, index:index + 1], has_text)
        assert float(losses['loss_image']) == pytest.approx(expected, abs=1e-5)
        total += float(losses['loss_image'])
        # Several pictures of one shape: the sum of their losses.
        both = head.loss(towards, text, adapted[:, [index, index]], has_text)
        assert float(both['loss_image']) == pytest.approx(2 * expected, abs=2e-5)
    assert float(losses['loss_text']) == pytest.approx(loss['text_loss'], abs=1e-5)
    assert total + float(losses['loss_text']) == pytest.approx(loss['total'], abs=5e-5)
