"""Stored image features: attached while shards are read, of the right images, in both layouts, encoded in batches."""
import json
import os
import shutil

import numpy as np
import pytest
import torch
from mmdet3d.registry import DATASETS
from mmengine.dataset import pseudo_collate
from mmengine.runner import Runner
from PIL import Image

from helpers.shape_fixtures import write_released_training_set
from helpers.stored_shapes import noise_store
from helpers.tiny_runs import tiny_config, tiny_model
from opendlign_mm.datasets.image_features import ImageFeatures
from opendlign_mm.datasets.store import PackedShape, ShapeStore
from opendlign_mm.generation import feature_stage
from opendlign_mm.generation.feature_stage import ReleasedImages, StoredImages, encode_images, open_image_source

NAMES = ('1a04e3ea', '1a6f615e', '3d1b9e8d')


@pytest.fixture(scope='module')
def model():
    return tiny_model().eval()


def expected_features(model, images: np.ndarray) -> np.ndarray:
    """Features of one object alone: images uint8 (V, H, W, 3) -> (V, D)."""
    with torch.no_grad():
        pixels = torch.from_numpy(images).permute(0, 3, 1, 2)[None].float() / 255
        return model.encode_views(pixels, 'pretrained')[0].numpy()


def released_dataset(root, **options):
    pipeline = [dict(type='LoadDepthViews'), dict(type='LoadDepthAlignedImages'), dict(type='PackShapeInputs')]
    return DATASETS.build(dict(dict(type='DepthAlignedShapes', data_root=str(root), pipeline=pipeline), **options))


def streamed(store: ShapeStore, **options):
    return DATASETS.build(dict(dict(type='DepthAlignDataset', data_root=str(store.root), seed=1,
                                    pipeline=[dict(type='PackShapeInputs')]), **options))


@pytest.mark.parametrize('layout', ['shards', 'folder'])
def test_a_stream_reads_each_file_of_features_once_and_no_image(model, tmp_path, monkeypatch, layout):
    store = noise_store(tmp_path / 'store', 'abcdefghij', 4, layout)
    assert encode_images(model, StoredImages(store), tmp_path / 'features') == {}
    read, own_read = [], ImageFeatures.read
    monkeypatch.setattr(ImageFeatures, 'read', lambda self, shard: read.append(shard) or own_read(self, shard))
    monkeypatch.setattr(PackedShape, 'images', lambda self: pytest.fail('an image is decoded'))
    shapes_read, store_read = [], ShapeStore.read

    def reading(self, shard, images=True):
        for shape in store_read(self, shard, images):
            shapes_read.append(shape)
            yield shape

    monkeypatch.setattr(ShapeStore, 'read', reading)
    # The buffer mixes the objects of all shards.
    items = list(streamed(store, image_features=str(tmp_path / 'features'), buffer_size=6))
    monkeypatch.undo()
    assert sorted(read) == [0, 1, 2] and all(not shape.image_files for shape in shapes_read)
    images = {shape.sample_id: shape.images() for shard in range(3) for shape in store.read(shard)}
    names = [item['data_samples'].sample_id for item in items]
    assert sorted(names) == list('abcdefghij') and names != sorted(names)
    for item, name in zip(items, names):
        found = item['inputs']['image_features']
        assert found.dtype == torch.float32 and 'images' not in item['inputs']
        np.testing.assert_allclose(found, expected_features(model, images[name]), atol=1e-3)


def test_features_of_images_that_were_made_again_are_refused_and_only_these_encoded_again(model, tmp_path):
    store, features = noise_store(tmp_path / 'store'), tmp_path / 'features'
    encode_images(model, StoredImages(store), features)
    other = list(noise_store(tmp_path / 'other', seed=1).read(1))
    store.write(1, other)
    with pytest.raises(ValueError, match='000001.safetensors has the features of other images than .*encode_images'):
        streamed(store, image_features=str(features))
    times = {path.name: path.stat().st_mtime_ns for path in features.glob('*.safetensors')}
    encode_images(model, StoredImages(store), features)
    changed = [path.name for path in features.glob('*.safetensors') if times[path.name] != path.stat().st_mtime_ns]
    assert changed == ['000001.safetensors']
    by_name = {item['data_samples'].sample_id: item for item in streamed(store, image_features=str(features))}
    np.testing.assert_allclose(by_name['d']['inputs']['image_features'],
                               expected_features(model, other[1].images()), atol=1e-3)
    # A filter changes the metadata, and with them the shard, but not the images.
    for shard in range(3):
        shapes = list(store.read(shard))
        for shape in shapes:
            shape.metadata['kept'] = True
        store.rewrite_metadata(shard, shapes, dict(filter='same'))
    assert len(list(streamed(store, image_features=str(features)))) == 6


def test_missing_and_damaged_features_are_named_before_training(model, tmp_path):
    store, features = noise_store(tmp_path / 'store'), tmp_path / 'features'
    encode_images(model, StoredImages(store), features)
    path = features / '000002.safetensors'
    whole = path.read_bytes()
    for contents in (whole[:60], whole[:-3], b''):
        path.write_bytes(contents)
        with pytest.raises(ValueError, match='000002.safetensors is damaged.*encode_images'):
            streamed(store, image_features=str(features))
    path.unlink()
    with pytest.raises(FileNotFoundError, match='000002.safetensors does not exist.*encode_images'):
        streamed(store, image_features=str(features))
    encode_images(model, StoredImages(store), features)
    assert path.read_bytes() == whole
    shutil.copy(features / '000001.safetensors', path)
    with pytest.raises(ValueError, match='000002.safetensors has .*'):
        streamed(store, image_features=str(features))


def test_features_of_the_authors_layout_replace_its_images(model, tmp_path):
    found = write_released_training_set(tmp_path, NAMES)
    source = open_image_source(tmp_path / 'shapenet')
    assert isinstance(source, ReleasedImages) and encode_images(model, source, tmp_path / 'features') == {}
    with_images = released_dataset(tmp_path)
    shutil.rmtree(tmp_path / 'shapenet/depth_align_img')
    dataset = released_dataset(tmp_path, image_features=str(tmp_path / 'features'))
    assert len(dataset) == 3
    for index, name in enumerate(NAMES):
        item = dataset[index]
        assert item['data_samples'].sample_id == f'shapenet/{name}' and 'images' not in item['inputs']
        expected = expected_features(model, found[name][1])
        np.testing.assert_allclose(item['inputs']['image_features'], expected, atol=1e-3)
    batch = model.data_preprocessor(pseudo_collate([dataset[index] for index in range(3)]))
    losses = model(**batch, mode='loss')
    assert all(torch.isfinite(value) for value in losses.values())
    write_released_training_set(tmp_path / 'again', NAMES)
    shutil.move(tmp_path / 'again/shapenet/depth_align_img', tmp_path / 'shapenet/depth_align_img')
    batch = model.data_preprocessor(pseudo_collate([with_images[index] for index in range(3)]))
    for key, value in model(**batch, mode='loss').items():
        torch.testing.assert_close(losses[key], value, rtol=2e-3, atol=1e-5)


def test_images_of_the_authors_layout_that_changed_since_are_refused(model, tmp_path):
    write_released_training_set(tmp_path, NAMES)
    source, features = ReleasedImages(tmp_path / 'shapenet'), tmp_path / 'features'
    encode_images(model, source, features)
    path = tmp_path / f'shapenet/depth_align_img/{NAMES[1]}/3.png'
    Image.fromarray(np.arange(32 * 32 * 3).reshape(32, 32, 3).astype(np.uint8)).save(path)
    dataset = released_dataset(tmp_path, image_features=str(features))
    assert 'image_features' in dataset[0]['inputs']
    with pytest.raises(ValueError, match=f'features of other images of shapenet/{NAMES[1]} than .*encode_images'):
        dataset[1]
    assert encode_images(model, source, features) == {}
    assert 'image_features' in released_dataset(tmp_path, image_features=str(features))[1]['inputs']


@pytest.mark.parametrize('damage', ['truncated', 'black'])
def test_an_unreadable_image_is_one_object_and_is_tried_again_when_it_changes(model, tmp_path, monkeypatch, damage):
    write_released_training_set(tmp_path, NAMES)
    path = tmp_path / f'shapenet/depth_align_img/{NAMES[2]}/9.png'
    whole = path.read_bytes()
    path.write_bytes(whole[:100])
    if damage == 'black':
        Image.fromarray(np.zeros((32, 32, 3), np.uint8)).save(path)
    source, features = ReleasedImages(tmp_path / 'shapenet', 2), tmp_path / 'features'
    (name, problem), = encode_images(model, source, features).items()
    assert name == f'shapenet/{NAMES[2]}'
    assert f'9.png {"has a single color" if damage == "black" else "cannot be read"}' in problem
    assert ImageFeatures(features).names() == {f'shapenet/{name}' for name in NAMES[:2]}
    with monkeypatch.context() as patch:
        patch.setattr(feature_stage, 'read_aligned_images', lambda paths: pytest.fail('tried again in vain'))
        assert encode_images(model, source, features) == {}
    path.write_bytes(whole)
    assert encode_images(model, source, features) == {}
    assert len(ImageFeatures(features).names()) == 3


def test_damaged_shards_and_names_that_are_not_text(model, tmp_path):
    store = noise_store(tmp_path / 'store')
    whole = store.shard_path(1).read_bytes()
    store.shard_path(1).write_bytes(whole[:whole.rindex(b'd.depth_0.png') // 512 * 512])  # looks like a whole archive
    with pytest.raises(ValueError, match='shard-000001.tar is damaged or truncated; run tools/generate_images.py'):
        encode_images(model, StoredImages(store), tmp_path / 'features')
    write_released_training_set(tmp_path, NAMES)
    images = tmp_path / 'shapenet/depth_align_img'
    try:
        (images / NAMES[0]).rename(images / os.fsdecode(b'caf\xe9'))
    except OSError:
        pytest.skip('this file system takes UTF-8 names only')
    (images / NAMES[1] / '4.png').unlink()
    (images / NAMES[1] / '4.png').symlink_to('nowhere')
    problems = encode_images(model, ReleasedImages(tmp_path / 'shapenet'), tmp_path / 'released')
    assert 'rename the folder' in problems.pop(r'shapenet/caf\udce9')
    assert '4.png does not exist' in problems.pop(f'shapenet/{NAMES[1]}') and not problems
    assert ImageFeatures(tmp_path / 'released').names() == {f'shapenet/{NAMES[2]}'}


def test_images_are_encoded_in_batches_of_several_objects(model, tmp_path, monkeypatch):
    store = noise_store(tmp_path / 'store', 'abcdefghij', 8)
    sizes, encode = [], model.encode_views
    monkeypatch.setattr(feature_stage, 'BATCH_SIZE', 7)
    monkeypatch.setattr(model, 'encode_views', lambda views, branch: sizes.append(views.shape[:2]) or encode(
        views, branch))
    encode_images(model, StoredImages(store), tmp_path / 'features')
    # Two views each: three objects fit into a batch of seven.
    assert [tuple(size) for size in sizes] == [(1, 6), (1, 6), (1, 4), (1, 4)]
    monkeypatch.undo()
    for shard in range(2):
        for shape in store.read(shard):
            np.testing.assert_allclose(ImageFeatures(tmp_path / 'features').of(shape.sample_id)[0],
                                       expected_features(model, shape.images()), atol=1e-3)


def test_training_on_features_of_another_clip_is_refused(model, tmp_path):
    write_released_training_set(tmp_path, NAMES)
    encode_images(model, ReleasedImages(tmp_path / 'shapenet'), tmp_path / 'features')
    config = tiny_config(tmp_path / 'run')
    config.train_dataloader.dataset = dict(
        type='DepthAlignedShapes', data_root=str(tmp_path), image_features=str(tmp_path / 'features'),
        pipeline=[dict(type='LoadDepthViews'), dict(type='LoadDepthAlignedImages'), dict(type='PackShapeInputs')])
    config.model.backbone.random_seed = 1
    config.experiment_name = str(tmp_path)
    with pytest.raises(RuntimeError, match='image features of the training set are of .*encode_images'):
        Runner.from_cfg(config).train()
    assert json.loads((tmp_path / 'features/clip.json').read_text()) == model.backbone.pretrained_branch_identity()
