"""Lists of objects to train on: written by the filter, read by the datasets; names without an object are reported."""
import json

import pytest
from mmdet3d.registry import DATASETS

import opendlign_mm  # noqa: F401
from helpers.stored_shapes import noise_store
from opendlign_mm.datasets import keep_list as keep_lists
from opendlign_mm.generation.filter_stage import write_keep_list

NAMES = ('set/a', 'set/b', 'set/c', 'other/c', 'set/d')


def kept_store(root, kept=(True, False, True, None, True)):
    """Return a store of five objects in shards of two, with the decisions of a filter."""
    store = noise_store(root, NAMES)
    for shard in range(store.num_shards):
        shapes = list(store.read(shard))
        for shape in shapes:
            decision = kept[NAMES.index(shape.sample_id)]
            shape.metadata = dict(shape.metadata, **({} if decision is None else dict(kept=decision, rank=1, score=.5)))
        store.rewrite_metadata(shard, shapes, dict(filter='a rule'))
    return store


def names(store, **options):
    data = DATASETS.build(dict(type='DepthAlignDataset', data_root=str(store.root), shuffle=False, **options))
    return [item['sample_id'] for item in data]


def write(path, *lines):
    path.write_text('\n'.join(lines) + '\n')
    return str(path)


def test_the_list_of_a_filter_gives_what_the_filter_keeps(tmp_path):
    store = kept_store(tmp_path / 'store', (True, False, True, True, True))
    assert write_keep_list(store, tmp_path / 'kept.txt') == 4
    assert (tmp_path / 'kept.txt').read_text() == 'set/a\nset/c\nother/c\nset/d\n'
    unfiltered = noise_store(tmp_path / 'again', NAMES)
    assert names(unfiltered, keep_list=str(tmp_path / 'kept.txt')) == names(store) == [
        'set/a', 'set/c', 'other/c', 'set/d']


def test_list_and_filter_hold_together(tmp_path):
    store = kept_store(tmp_path / 'store')
    listed = write(tmp_path / 'list.txt', 'd', 'some/where/b', 'other/c')  # the last parts of names
    assert names(store, keep_list=listed) == ['other/c', 'set/d']
    assert names(store, keep_list=listed, only_kept=False) == ['set/b', 'other/c', 'set/d']
    (tmp_path / 'list.json').write_text(json.dumps(['set/a']))
    assert names(store, keep_list=str(tmp_path / 'list.json')) == ['set/a']
    with pytest.raises(ValueError, match='the filter rejected all objects of .*only_b.txt'):
        names(store, keep_list=write(tmp_path / 'only_b.txt', 'set/b'))


def test_names_without_an_object_or_of_several_are_reported(tmp_path, monkeypatch):
    store, said = noise_store(tmp_path / 'store', NAMES), []
    monkeypatch.setattr(keep_lists, 'print_log', lambda text, *_: said.append(text))
    listed = write(tmp_path / 'list.txt', 'set/a', 'set/x', 'y')
    with pytest.raises(ValueError, match='2 of 3 objects of .*list.txt are not in .*store: set/x, y.'):
        names(store, keep_list=listed)
    assert names(store, keep_list=listed, on_unreadable='skip') == ['set/a']
    assert len(said) == 1 and 'set/x, y' in said[0]
    with pytest.raises(ValueError, match='c may be other/c, set/c; give the whole name'):
        names(store, keep_list=write(tmp_path / 'list.txt', 'c'))
    with pytest.raises(FileNotFoundError, match='none.txt'):
        names(store, keep_list=str(tmp_path / 'none.txt'))
    with pytest.raises(ValueError, match='1 of 1 objects'):
        names(store, keep_list=write(tmp_path / 'list.txt', 'y'), on_unreadable='skip')


def test_a_store_that_is_not_filtered_has_no_list(tmp_path):
    with pytest.raises(ValueError, match='has objects that were not filtered'):
        write_keep_list(noise_store(tmp_path / 'store', NAMES), tmp_path / 'kept.txt')
    with pytest.raises(ValueError, match='rejected all 5 objects'):
        write_keep_list(kept_store(tmp_path / 'filtered', (False, ) * 5), tmp_path / 'kept.txt')
    assert not (tmp_path / 'kept.txt').exists()
