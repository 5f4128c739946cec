"""Class features are kept on disk by content: of the text encoder, the vocabulary and the templates."""
import warnings

import pytest
import torch

from opendlign_mm.models import CLIPDepthBackbone, OpenDlign, ZeroShotHead
from opendlign_mm.models.prompts import UnknownWordsWarning, cached_class_features

NAMES = ('chair', 'table', 'lamp')


@pytest.fixture
def build(tiny_clip_config, tmp_path):
    """Builds a model with its own text encoder, and tells how many texts were encoded."""

    def make(names=NAMES, templates=('a {}', 'the {}'), seed=0, cache=tmp_path / 'text', **clip_options):
        config = dict(tiny_clip_config, **clip_options)
        backbone = CLIPDepthBackbone('small', model_config=config, random_seed=seed)
        model = OpenDlign(backbone, zero_shot_head=ZeroShotHead(names, list(templates), text_cache_dir=cache))
        encode, model.encoded = backbone.encode_text, []
        backbone.encode_text = lambda texts: model.encoded.extend(texts) or encode(texts)
        return model

    return make


def test_second_model_reads_what_the_first_one_made(build, tmp_path):
    first, second, uncached = build(), build(), build(cache=None)
    made, read = first.class_features(), second.class_features()
    assert len(first.encoded) == 6 and second.encoded == []
    assert torch.equal(made, read) and torch.equal(made, uncached.class_features())
    assert len(uncached.encoded) == 6
    views = torch.rand(2, 2, 32, 32)
    assert torch.equal(second.zero_shot(views), uncached.zero_shot(views))
    assert [path.suffix for path in (tmp_path / 'text').iterdir()] == ['.npz']


@pytest.mark.parametrize('change', [
    dict(names=NAMES[::-1]), dict(names=NAMES[:2]), dict(templates=('the {}', 'a {} here')), dict(seed=1),
    dict(quick_gelu=True)])
def test_any_change_makes_features_anew(build, change):
    build().class_features()
    other = build(**change)
    expected = build(cache=None, **change).class_features()
    assert torch.equal(other.class_features(), expected) and other.encoded


def test_new_vocabulary_and_new_weights_at_run_time(build):
    model = build()
    before = model.class_features()
    model.set_vocabulary(['sofa'])
    assert model.class_features().shape == (1, 48)
    model.set_vocabulary(NAMES)
    assert torch.equal(model.class_features(), before) and len(model.encoded) == 8
    other = build(seed=1, cache=None)
    whole = {**model.state_dict(), **{f'backbone.clip.{k}': v for k, v in other.backbone.clip.state_dict().items()}}
    model.load_state_dict(whole, strict=False)
    torch.testing.assert_close(model.class_features(), other.class_features())


def test_damaged_file_is_made_again(build, tmp_path):
    expected = build().class_features()
    path, = (tmp_path / 'text').iterdir()
    path.write_bytes(path.read_bytes()[:50])
    model = build()
    assert torch.equal(model.class_features(), expected) and model.encoded
    assert torch.equal(build().class_features(), expected)


def test_warning_of_unknown_words_comes_each_time(tmp_path):

    def compute():
        warnings.warn('knows nothing of: sofa', UnknownWordsWarning, stacklevel=2)
        return torch.ones(1, 2)

    for _ in range(2):
        with pytest.warns(UnknownWordsWarning, match='sofa'):
            cached_class_features(tmp_path, 'key', compute)
    assert not list(tmp_path.iterdir())


def test_other_warnings_pass_and_features_are_kept(tmp_path):
    def compute():
        warnings.warn('old', DeprecationWarning, stacklevel=2)
        return torch.ones(1, 2)

    with pytest.warns(DeprecationWarning, match='old'):
        cached_class_features(tmp_path, 'key', compute)
    assert torch.equal(cached_class_features(tmp_path, 'key', lambda: pytest.fail('computed again')), torch.ones(1, 2))
