"""Inputs that change between two runs of a stage: only what changed is made again, and nothing is mixed."""
import json
import os
import shutil

import numpy as np
import pytest
from mmdet3d.registry import DATASETS

from helpers.stored_shapes import noise_shape, noise_store
from helpers.tiny_generation import SIZE, VIEWS, files_of, generation_config
from opendlign_mm.datasets.store import PackedShape, ShapeStore
from opendlign_mm.datasets.transforms import loading
from opendlign_mm.generation.depth_stage import project_depth
from opendlign_mm.generation.image_stage import generate_images
from opendlign_mm.generation.shape_sources import shapes_to_project
from opendlign_mm.point_files.shape_files import read_shape

STAND_IN = dict(type='SlowStandIn')


def cloud(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).random((200, 3)).astype(np.float32)


def names_of(store: ShapeStore) -> list[str]:
    return [shape.sample_id for shard in range(store.num_shards) for shape in store.read(shard)]


@pytest.fixture
def clouds(tmp_path):
    """Six clouds of a class, two of which cannot be read, in shards of two: (arguments of the depth stage, folder)."""
    folder = tmp_path / 'shapes/cup'
    folder.mkdir(parents=True)
    for number in range(6):
        np.save(folder / f'{number}.npy', cloud(number))
    (folder / '1.npy').write_bytes(b'nothing')
    (folder / '4.npy').write_bytes(b'nothing')
    arguments = shapes_to_project(str(tmp_path / 'shapes')), tmp_path / 'depth', VIEWS, dict(resolution=SIZE)
    return arguments, folder


@pytest.fixture
def files_read(monkeypatch):
    """Names of the shape files that are read."""
    read = []
    monkeypatch.setattr(loading, 'read_shape', lambda path, *rest: read.append(path.split('/')[-1]) or read_shape(
        path, *rest))
    return read


@pytest.mark.parametrize('layout', ['shards', 'folder'])
def test_only_unreadable_objects_whose_file_changed_are_projected_again(clouds, files_read, capfd, tmp_path, layout):
    arguments, folder = clouds
    options = dict(shapes_per_shard=2, layout=layout)
    assert sorted(project_depth(*arguments, **options)) == ['shapes/cup/1.npy', 'shapes/cup/4.npy']
    assert sorted(files_read) == [f'{number}.npy' for number in range(6)]
    before = files_of(tmp_path / 'depth')
    files_read.clear()
    capfd.readouterr()
    assert project_depth(*arguments, **options) == {} and files_read == [] and files_of(tmp_path / 'depth') == before
    assert '2 objects of ' in (printed := capfd.readouterr().out) and 'are still missing' in printed

    np.save(folder / '4.npy', cloud(4))
    (folder / '1.npy').write_bytes(b'nothing of another size')
    assert list(project_depth(*arguments, **options)) == ['shapes/cup/1.npy']
    assert sorted(files_read) == ['1.npy', '4.npy']
    files_read.clear()
    assert project_depth(*arguments, **options) == {} and files_read == []

    np.save(folder / '1.npy', cloud(1))
    assert project_depth(*arguments, **options) == {} and files_read == ['1.npy']
    undisturbed = arguments[0], tmp_path / 'undisturbed', *arguments[2:]
    assert project_depth(*undisturbed, **options) == {}
    assert files_of(tmp_path / 'depth') == files_of(tmp_path / 'undisturbed')


def test_a_damaged_shard_is_projected_whole_when_one_of_its_objects_is_fixed(clouds, files_read, tmp_path):
    arguments, folder = clouds
    project_depth(*arguments, shapes_per_shard=2)
    store = ShapeStore(tmp_path / 'depth')
    contents = bytearray(store.shard_path(0).read_bytes())
    contents[1000] ^= 255
    store.shard_path(0).write_bytes(contents)
    files_read.clear()
    np.save(folder / '1.npy', cloud(1))
    assert project_depth(*arguments, shapes_per_shard=2) == {} and sorted(files_read) == ['0.npy', '1.npy']
    store.verify(0)


def test_names_that_are_not_text_or_too_long_are_one_object_each(tmp_path):
    folder = tmp_path / 'shapes/cup'
    folder.mkdir(parents=True)
    bad, long = os.fsdecode(b'caf\xe9.npy'), '椅' * 80 + '.npy'
    for number, name in enumerate((bad, long, 'plain.npy')):
        try:
            np.save(folder / name, cloud(number))
        except OSError:
            pytest.skip('this file system takes UTF-8 names only')
    arguments = shapes_to_project(str(tmp_path / 'shapes')), tmp_path / 'depth', VIEWS, dict(resolution=SIZE)
    for layout in ('shards', 'folder'):
        shutil.rmtree(tmp_path / 'depth', ignore_errors=True)
        (name, problem), = project_depth(*arguments, layout=layout).items()
        assert name == r'shapes/cup/caf\udce9.npy' and 'not UTF-8; rename it' in problem
        assert names_of(ShapeStore(tmp_path / 'depth')) == ['shapes/cup/plain.npy', f'shapes/cup/{long}']
        assert project_depth(*arguments, layout=layout) == {}


def test_depth_maps_of_such_names_and_missing_ones_are_one_object_each(tmp_path):
    folder = tmp_path / 'depth_map'
    folder.mkdir()
    views = np.random.default_rng(0).integers(0, 256, (VIEWS, SIZE, SIZE), dtype=np.uint8)
    (folder / 'gone+cup_dm.npy').symlink_to(folder / 'nowhere')
    for name in (b'caf\xe9+cup', b'plain+cup'):
        try:
            np.save(folder / os.fsdecode(name + b'_dm.npy'), views)
        except OSError:
            pytest.skip('this file system takes UTF-8 names only')
    config = generation_config(folder, tmp_path / 'images', generator=STAND_IN)
    problems = generate_images(config)
    assert sorted(problems) == [r'caf\udce9+cup', 'gone+cup']
    assert 'not UTF-8; rename it' in problems[r'caf\udce9+cup'] and 'does not exist' in problems['gone+cup']
    assert names_of(ShapeStore(tmp_path / 'images')) == ['plain+cup'] and generate_images(config) == {}


def test_two_depth_maps_of_one_object_are_refused(tmp_path):
    for name in ('A+cup', '%41+cup'):
        np.save(tmp_path / f'{name}_dm.npy', np.zeros((VIEWS, SIZE, SIZE), np.uint8))
    with pytest.raises(ValueError, match="%41.cup_dm.npy and A.cup_dm.npy both stand for the object 'A.cup'"):
        generate_images(generation_config(tmp_path, tmp_path / 'images', generator=STAND_IN))


def test_texts_of_two_runs_are_not_mixed(tmp_path):
    noise_store(tmp_path / 'depth', images=False)
    texts = tmp_path / 'texts.json'
    texts.write_text(json.dumps({name: 'cup' for name in 'abcdef'}))
    config = generation_config(tmp_path / 'depth', tmp_path / 'images', generator=STAND_IN, metadata=str(texts))
    assert generate_images(config) == {}
    store = ShapeStore(tmp_path / 'images')
    store.manifest_path(2).unlink()
    before = files_of(store.root)
    texts.write_text(json.dumps({name: 'cup' if name < 'c' else 'lamp' for name in 'abcdef'}))
    with pytest.raises(ValueError, match=r"2 objects of .* were made with other texts, for example c: 'cup' there, "
                       "'lamp' now"):
        generate_images(config)
    assert files_of(store.root) == before
    # Texts of objects that are not made yet may change.
    texts.write_text(json.dumps({name: 'cup' if name < 'e' else 'lamp' for name in 'abcdef'}))
    assert generate_images(config) == {}
    assert [row['text'] for shard in range(3) for row in store.rows(shard)] == ['cup'] * 4 + ['lamp'] * 2


def test_images_of_changed_depth_views_are_made_again(tmp_path):
    depth = noise_store(tmp_path / 'depth', images=False)
    config = generation_config(depth.root, tmp_path / 'images', generator=STAND_IN)
    generate_images(config)
    store = ShapeStore(tmp_path / 'images')
    before = files_of(store.root)
    depth.write(1, [noise_shape('c', images=False, seed=1), noise_shape('d', images=False)])
    assert generate_images(config) == {}
    changed = {name for name, value in files_of(store.root).items() if value != before[name]}
    assert changed == {'shard-000001.tar', 'manifest/000001.parquet'}
    assert np.array_equal(next(store.read(1)).depth_views(), noise_shape('c', seed=1).depth_views())
    # An object whose depth views could not be made by then gets images, too.
    depth.write(2, [noise_shape('e', images=False)])
    generate_images(config)
    assert names_of(store) == list('abcde')
    depth.write(2, [noise_shape('e', images=False), noise_shape('f', images=False)])
    assert generate_images(config) == {} and names_of(store) == list('abcdef')


@pytest.mark.parametrize('facts', [None, dict(filter='["weights", "a {}.", 3, null, "texts"]')])
def test_a_store_of_which_only_some_shards_are_filtered_alike_is_refused(tmp_path, facts):
    store = noise_store(tmp_path)
    for shard, fact in ((0, facts), (1, dict(filter='["weights", "a {}.", 1, null, "texts"]')), (2, facts)):
        shapes = [PackedShape(dict(shape.metadata, kept=shape.sample_id != 'a'), shape.depth_files, shape.image_files)
                  for shape in store.read(shard)]
        if fact:
            store.rewrite_metadata(shard, shapes, fact)
    config = dict(type='DepthAlignDataset', data_root=str(tmp_path))
    with pytest.raises(ValueError, match=r'only partly filtered: 2 of 3 shards are (not )?filtered.*, 1 of 3 shards '
                       r'are filtered with .*Run tools/filter_images.py again'):
        DATASETS.build(config)
    assert len(DATASETS.build(dict(config, only_kept=False))) == 6
