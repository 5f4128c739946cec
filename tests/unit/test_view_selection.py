"""Views weighted by the entropy of their prediction, and prompts in two steps (MV-CLIP)."""
import json

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from opendlign_mm.models import TwoStepHead, ZeroShotHead

SCALE = 20.


def features(*shape, seed=0):
    return F.normalize(torch.randn(*shape, generator=torch.Generator().manual_seed(seed)), dim=-1)


def head(**options):
    return ZeroShotHead(templates=['{}'], branches='pretrained', **options)


def by_numpy(views, classes):
    """Cosines and entropies of views, float64."""
    cosines = views.double().numpy() @ classes.double().numpy().T
    odds = np.exp(SCALE * cosines)
    shares = odds / odds.sum(-1, keepdims=True)
    return cosines, -(shares * np.log(shares)).sum(-1)


@pytest.mark.parametrize('aggregation', ['sum', 'softmax_sum'])
@pytest.mark.parametrize('selection', ['entropy', 2])
def test_confident_views_count_more(aggregation, selection):
    views, classes = features(3, 5, 8), features(4, 8, seed=1)
    cosines, entropy = by_numpy(views, classes)
    if selection == 'entropy':
        weights = np.exp(-entropy)
    else:
        weights = (entropy <= np.sort(entropy, axis=1)[:, 1:2]).astype(float)
    weights = weights / weights.mean(1, keepdims=True)
    softmax = np.exp(cosines) / np.exp(cosines).sum(-1, keepdims=True)
    expected = (weights[..., None] * (cosines if aggregation == 'sum' else softmax)).sum(1)
    scored = head(aggregation=aggregation, view_selection=selection)
    scores = scored.scores(classes, views, clip_logit_scale=SCALE)
    assert scores.numpy() == pytest.approx(expected, abs=1e-5)
    logits = scored.class_logits(classes, views, clip_logit_scale=SCALE)
    mean = expected / 5
    assert logits.numpy() == pytest.approx(mean if aggregation == 'sum' else np.log(mean), abs=1e-5)


def test_views_that_agree_count_alike_and_all_views_chosen_is_no_choice():
    views, classes = features(2, 1, 8).expand(2, 4, 8), features(4, 8, seed=1)
    for selection in ('entropy', 4):
        chosen = head(view_selection=selection).scores(classes, views, clip_logit_scale=SCALE)
        torch.testing.assert_close(chosen, head().scores(classes, views))
    one_class = head(view_selection='entropy').scores(classes[:1], views, clip_logit_scale=SCALE)
    assert torch.isfinite(one_class).all()


@pytest.mark.parametrize('selection', ['confidence', 0, 2.5, True])
def test_other_selections_are_refused(selection):
    with pytest.raises(ValueError, match='view_selection must be'):
        head(view_selection=selection)


def test_more_views_than_there_are_or_no_scale_is_refused():
    with pytest.raises(ValueError, match='view_selection=6, but objects have 5 views'):
        head(view_selection=6).scores(features(4, 8), features(3, 5, 8), clip_logit_scale=SCALE)
    with pytest.raises(ValueError, match='needs clip_logit_scale'):
        head(view_selection='entropy').scores(features(4, 8), features(3, 5, 8))


# --- two steps --------------------------------------------------------------------------------------------------------

SENTENCES = {'chair': ['sit on it', 'it has a back'], 'Table Lamp': 'it shines', 'sofa': ['soft']}
NAMES = ['chair', 'table_lamp', 'sofa', 'bed']


def encode_text(texts):
    """Features that depend on the text alone."""
    return torch.stack([torch.randn(8, generator=torch.Generator().manual_seed(len(text) * 97 + ord(text[0])))
                        for text in texts])


def two_steps(**options):
    options = dict(dict(templates=['a {}'], branches='pretrained', num_candidates=2), **options)
    made = TwoStepHead(options.pop('sentences', SENTENCES), **options)
    made.set_vocabulary(NAMES)
    return made


@pytest.mark.parametrize('aggregation', ['sum', 'softmax_sum'])
def test_sentences_decide_between_the_best_classes_by_templates(aggregation):
    made, views = two_steps(aggregation=aggregation), features(40, 3, 8)
    classes = made.vocabulary_features(encode_text)
    assert classes.shape == (4, 16)
    templates = F.normalize(encode_text(['a chair', 'a table lamp', 'a sofa', 'a bed']), dim=-1)
    back = F.normalize(F.normalize(encode_text(SENTENCES['chair']), dim=-1).mean(0), dim=0)
    sentences = torch.stack([back, *F.normalize(encode_text(['it shines', 'soft']), dim=-1), templates[3]])
    torch.testing.assert_close(classes, torch.cat([templates, sentences], dim=1))
    plain = head(aggregation=aggregation)
    first, second = (plain.class_logits(texts, views) for texts in (templates, sentences))
    logits, scores = made.class_logits(classes, views), made.scores(classes, views)
    for row in range(len(views)):
        candidates = first[row].argsort(descending=True)[:2].tolist()
        better = max(candidates, key=lambda index: second[row, index].item())
        assert logits[row].argmax() == better and set(logits[row].topk(2).indices.tolist()) == set(candidates)
        torch.testing.assert_close(logits[row, candidates], second[row, candidates])
        assert logits[row].argsort().tolist() == scores[row].argsort().tolist()
    changed = (logits.argmax(1) != first.argmax(1)).sum()
    assert 0 < changed < len(views)
    assert torch.allclose(two_steps(num_candidates=9, aggregation=aggregation).class_logits(classes, views), second)


def test_sentences_come_from_a_json_file_and_name_the_cached_features(tmp_path):
    path = tmp_path / 'sentences.json'
    path.write_text(json.dumps(SENTENCES))
    keys = [two_steps(sentences=sentences)._cache_key('clip', NAMES) for sentences in (path, SENTENCES, {'bed': 'x'})]
    assert keys[0] == keys[1] != keys[2] and keys[0] != head()._cache_key('clip', NAMES)


@pytest.mark.parametrize('options, message', [
    (dict(sentences={}), 'needs sentences'), (dict(num_candidates=0), 'num_candidates must be at least 1'),
    (dict(sentences={'chair': []}), "sentences of class 'chair'")])
def test_wrong_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        two_steps(**options)
