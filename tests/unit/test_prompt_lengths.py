"""Prompts that are longer than a CLIP reads: a warning for all of them, an error where a class name is cut off."""
import warnings

import pytest
import torch
from open_clip import SimpleTokenizer

from opendlign_mm.models import CLIPDepthBackbone, OpenDlign, TwoStepHead, WeightedViewHead, ZeroShotHead
from opendlign_mm.models.prompt_lengths import LongPromptsWarning, check_prompt_lengths, num_tokens
from opendlign_mm.retrieval.query import embed_query
from opendlign_mm.structures import ShapeDataSample

CONTEXT = 8  # the start, six words and the end


def check(names, templates, sentences=()):
    check_prompt_lengths(names, templates, sentences, SimpleTokenizer(), CONTEXT)


@pytest.fixture(scope='module')
def backbone():
    return CLIPDepthBackbone('small', num_blocks=0, model_config=dict(
        embed_dim=8, vision_cfg=dict(image_size=16, patch_size=8, width=8, layers=1, head_width=8),
        text_cfg=dict(context_length=CONTEXT, vocab_size=49408, width=8, heads=1, layers=1)))


def build(backbone, head):
    return OpenDlign(backbone, zero_shot_head=head)


def test_words_are_counted_with_start_and_end_but_without_padding():
    assert num_tokens(['', 'chair', 'a red chair', '!', 'a ' * 50], SimpleTokenizer(), 20).tolist() == [2, 3, 5, 3, 20]


def test_prompts_that_just_fit_are_quiet():
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        check(['chair', 'night_stand'], ['a photo of a {}', '{} and {}'], ['one two three four five six'])
        check(['sofa'], ['a photo of one red {}'])


@pytest.mark.parametrize('names, templates, sentences, prompt, length', [
    (['chair', 'night_stand'], ['a {}', 'a photo of a {} .'], (), 'a photo of a night stand .', 9),
    (['chair', 'night_stand'], ['{} and {} and {}', 'a {} in red'], (),
     'night stand and night stand and night stand', 10),
    (['chair'], ['a {}'], ['one two three four five six seven eight'], 'one two three four five six seven eight', 10)])
def test_longest_prompt_is_named_once(names, templates, sentences, prompt, length):
    with pytest.warns(LongPromptsWarning, match=f'has {length} tokens, and this CLIP reads 8.*{prompt!r}') as caught:
        check(names, templates, sentences)
    assert len(caught) == 1


@pytest.mark.parametrize('names, templates, match', [
    (['chair', 'big_old_night_stand'], ['a {}', 'a photo of a {}'],
     "'big old night stand' is cut off in the template 'a photo of a {}': up to its end there are 10 tokens.*reads 8"),
    (['chair'], ['a {}', 'one two three four five six seven {}'], "'chair' is cut off .* 10 tokens")])
def test_class_name_that_is_cut_off_is_refused(names, templates, match):
    with pytest.raises(ValueError, match=match):
        check(names, templates)


def test_models_check_each_new_vocabulary_even_where_its_features_are_on_disk(backbone, tmp_path):
    for _ in range(2):
        model = build(backbone, ZeroShotHead(['chair'], ['a {} on a bright white background'],
                                             branches='pretrained', text_cache_dir=tmp_path))
        with pytest.warns(LongPromptsWarning, match='a chair on a bright white background'):
            model.class_features()
        with warnings.catch_warnings():
            warnings.simplefilter('error')
            model.class_features()
    assert len(list(tmp_path.iterdir())) == 1
    model.set_vocabulary(['a chair that has lost one leg'])
    with pytest.raises(ValueError, match="'a chair that has lost one leg' is cut off"):
        model.class_features()


@pytest.mark.parametrize('head', [WeightedViewHead, TwoStepHead])
def test_sentences_of_the_vocabulary_are_checked_too(backbone, head):
    text = 'a night stand is a small low table beside a bed'
    model = build(backbone, head(sentences={'night stand': text, 'chair': 'four legs'}, templates='a {}',
                                 class_names=['night_stand', 'chair'],
                                 **(dict(branches='pretrained') if head is TwoStepHead else {})))
    with pytest.warns(LongPromptsWarning, match=text):
        model.class_features()
    model.set_vocabulary(['chair'])
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        model.class_features()


def test_query_whose_words_are_cut_off_is_refused(backbone):
    model = build(backbone, ZeroShotHead(['chair'], ['a {}'], branches='pretrained'))
    with pytest.raises(ValueError, match='is cut off'):
        embed_query(model, 'a chair with four long wooden legs')
    assert torch.from_numpy(embed_query(model, 'a chair')).norm() == pytest.approx(1)


def test_training_captions_that_are_cut_off_are_reported_once(backbone):
    model, long = OpenDlign(backbone), 'one two three four five six seven'

    def encode(*captions):
        return model.text_features([ShapeDataSample(metainfo=dict(caption=caption)) for caption in captions])

    with warnings.catch_warnings():
        warnings.simplefilter('error')
        encode('a chair', 'one two three four five six')
    with pytest.warns(LongPromptsWarning, match=f"2 of 3 captions .* the 8 tokens .* has 10: '{long} eight'") as caught:
        encode(long, 'a table', f'{long} eight', long, 'a chair')
    assert len(caught) == 1
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        encode(f'another {long}')
