"""Vocabularies of the inferencers."""
import warnings

import pytest
from mmdet3d.registry import MODELS

import opendlign_mm  # noqa: F401
from helpers.tiny_clip import TINY_BACKBONE
from opendlign_mm.apis import read_vocabulary
from opendlign_mm.apis.vocabulary import default_vocabulary, unknown_names, warn_of_unknown_names
from opendlign_mm.models.prompts import UnknownWordsWarning


@pytest.mark.parametrize('name, count, some', [
    ('scannet18', 18, 'shower curtain'), ('scannet20', 20, 'nightstand'), ('scannet200', 200, 'mini fridge'),
    ('modelnet40', 40, 'night stand'), ('lvis', 1203, 'aerosol can')])
def test_built_in_vocabularies(name, count, some):
    names = read_vocabulary(name)
    assert len(names) == len(set(names)) == count and some in names


def test_lists_commas_and_files(tmp_path):
    expected = ['office chair', 'table', 'lamp']
    file = tmp_path / 'words.txt'
    file.write_text('\ufeffoffice  chair\n\n# a comment\ntable \nlamp', encoding='utf-8')
    for given in (expected, tuple(expected), 'office chair, table,lamp', str(file), file):
        assert read_vocabulary(given) == expected
    assert read_vocabulary('chair') == ['chair']


@pytest.mark.parametrize('given, error, words', [
    ([], ValueError, 'no class name'), ('', ValueError, 'no class name'), (['a', ''], ValueError, '2 of 2 is empty'),
    ('chair,,table', ValueError, '2 of 3 is empty'), (['cup', 'cup'], ValueError, "'cup' occurs twice"),
    (['night_stand', 'Night stand'], ValueError, "'night_stand' and 'Night stand'"), (['?!'], ValueError, r"'\?!'"),
    (['chair', 3], TypeError, '3'), (5, TypeError, 'int'), ('words.txt', FileNotFoundError, 'words.txt'),
    ('some/words', FileNotFoundError, 'some/words')])
def test_what_is_no_vocabulary_is_refused_by_name(given, error, words):
    with pytest.raises(error, match=words):
        read_vocabulary(given)


def test_words_that_a_small_clip_was_not_trained_on_are_named():
    backbone = MODELS.build(dict(type='CLIPDepthBackbone', clip='opendlign-tiny', pretrained='builtin'))
    assert unknown_names(backbone, ['chair', 'armadillo', 'bed']) == ['armadillo']
    with pytest.warns(UnknownWordsWarning, match='mean nothing: armadillo;'):
        warn_of_unknown_names(backbone, ['chair', 'armadillo'])
    # All of ScanNet's classes, and of ModelNet40's these.
    assert ', '.join(default_vocabulary('scannet18', backbone)) == (
        'cabinet, bed, chair, sofa, table, door, window, bookshelf, picture, counter, desk, curtain, refrigerator, '
        'shower curtain, toilet, sink, bathtub, garbage bin')
    assert ', '.join(default_vocabulary('modelnet40', backbone)) == (
        'bathtub, bed, bookshelf, bottle, chair, cup, curtain, desk, door, lamp, monitor, sink, sofa, table, toilet')
    large = MODELS.build(TINY_BACKBONE)
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        warn_of_unknown_names(large, ['armadillo'])
    assert len(default_vocabulary('scannet18', large)) == 18
    assert len(default_vocabulary('modelnet40', large)) == 40
