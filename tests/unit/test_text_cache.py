"""Class features are kept on disk by content: of the text encoder, the vocabulary and the templates."""
import random
import time
import warnings
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from opendlign_mm.models import CLIPDepthBackbone, OpenDlign, ZeroShotHead, prompts
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


def test_any_damage_of_a_file_is_logged_and_the_features_are_made_again(tmp_path, monkeypatch):
    logged = []
    monkeypatch.setattr(prompts, 'print_log', lambda message, *_: logged.append(message))
    expected = cached_class_features(tmp_path, 'key', lambda: torch.eye(8))
    path, = tmp_path.iterdir()
    whole, rng, computed = path.read_bytes(), random.Random(0), []

    def compute():
        computed.append(1)
        return torch.eye(8)

    for trial in range(100):
        damaged = bytearray(whole)
        start = rng.randrange(len(damaged))
        if trial % 2:
            damaged[start:start + 8] = rng.randbytes(len(damaged[start:start + 8]))
        else:
            damaged = damaged[:start]
        path.write_bytes(damaged)
        assert torch.equal(cached_class_features(tmp_path, 'key', compute), expected)
    assert len(computed) > 60 and len(logged) > 60 and all(path.name in message for message in logged)
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


def test_threads_with_equal_keys_share_one_computation(tmp_path):
    computed = []

    def compute():
        computed.append(1)
        time.sleep(0.05)
        return torch.eye(3)

    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(lambda _: cached_class_features(tmp_path, 'key', compute), range(8)))
    assert len(computed) == 1 and all(torch.equal(result, torch.eye(3)) for result in results)


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
