"""Streams of generated data are complete and shuffled, and resume at any batch."""
import shutil

import numpy as np
import pytest
import torch
from mmcv.transforms import BaseTransform
from mmdet3d.registry import DATASETS, TRANSFORMS
from mmengine.dataset import pseudo_collate
from mmengine.runner import Runner
from torch.utils.data import DataLoader

from helpers.tiny_generation import PROJECTION, SHAPES, SIZE, VIEWS, depth_store, generation_config
from helpers.tiny_runs import scalars, tiny_config, tiny_model
from opendlign_mm.datasets import generated as depth_align_stream
from opendlign_mm.datasets.store import ShapeStore
from opendlign_mm.datasets.stream_order import buffer_order, share_of_process, share_of_worker
from opendlign_mm.generation.depth_stage import project_depth
from opendlign_mm.generation.feature_stage import StoredImages, encode_images
from opendlign_mm.generation.image_stage import generate_images

NUM_SHAPES = 18


@TRANSFORMS.register_module(force=True)
class JitterImages(BaseTransform):
    """Random numbers of each generator, which a resumed epoch has to repeat."""

    def transform(self, results: dict) -> dict:
        results['jitter'] = (float(torch.rand(())), np.random.rand())
        results['depth_views'] = results['depth_views'] * np.float32(.9 + .1 * results['jitter'][1])
        return results


@pytest.fixture(scope='module')
def stores(tmp_path_factory) -> dict:
    """The same images in both layouts: 18 objects in shards of four, the last with two."""
    folder = tmp_path_factory.mktemp('stores')
    project_depth(dict(SHAPES, num_per_category=3), folder / 'depth', VIEWS, PROJECTION, shapes_per_shard=4)
    found = {}
    for layout in ('shards', 'folder'):
        generate_images(generation_config(folder / 'depth', folder / layout, layout=layout,
                                          generator=dict(type='SlowStandIn')))
        found[layout] = ShapeStore(folder / layout)
    return found


def dataset(store: ShapeStore, pack: bool = False, **options):
    pipeline = [dict(type='JitterImages')] + [dict(type='PackShapeInputs')] * pack
    return DATASETS.build(dict(dict(type='DepthAlignDataset', data_root=str(store.root), buffer_size=5, seed=3,
                                    pipeline=pipeline), **options))


def batches(data, workers: int = 0, batch_size: int = 4, drop_last: bool = False) -> list:
    data.set_batches(batch_size, drop_last)
    loader = DataLoader(data, batch_size, num_workers=workers, drop_last=drop_last, collate_fn=list)
    found = [[(item['sample_id'], item['jitter']) for item in batch] for batch in loader]
    assert len(found) == len(loader) - len(range(data.batches_done))
    return found


def names(found: list) -> list:
    return [name for batch in found for name, _ in batch]


def test_both_layouts_give_the_stored_data(stores):
    items = {layout: list(dataset(store, shuffle=False)) for layout, store in stores.items()}
    stored = [shape for shard in range(5) for shape in stores['shards'].read(shard)]
    for one, other, shape in zip(*items.values(), stored):
        assert one['sample_id'] == other['sample_id'] == shape.sample_id and one['category'] in one['sample_id']
        assert np.array_equal(one['images'], other['images']) and np.array_equal(one['images'], shape.images())
        assert one['depth_views'].dtype == np.float32 and one['depth_views'].max() <= 1
        assert np.array_equal(one['depth_views'], other['depth_views'])
    assert len(items['shards']) == len(items['folder']) == NUM_SHAPES


@pytest.mark.parametrize('workers, drop_last', [(0, False), (0, True), (2, False), (3, True)])
def test_an_epoch_is_complete_and_resumes_exactly(stores, workers, drop_last):
    data = dataset(stores['shards'])
    whole = batches(data, workers, drop_last=drop_last)
    assert len(names(whole)) == len(set(names(whole))) == (16 if drop_last else NUM_SHAPES)
    assert {len(batch) for batch in whole[:-1]} == {4}
    for done in (1, 3, len(whole)):
        other = dataset(stores['folder'])
        other.resume_at(0, done)
        assert batches(other, workers, drop_last=drop_last) == whole[done:]
    data.resume_at(1)
    second = batches(data, workers, drop_last=drop_last)
    assert names(second) != names(whole)
    assert {jitter for batch in second for _, jitter in batch}.isdisjoint(
        {jitter for batch in whole for _, jitter in batch})


def test_resuming_does_not_read_what_is_done(stores, monkeypatch):
    read, store_read = [], ShapeStore.read
    monkeypatch.setattr(ShapeStore, 'read', lambda self, shard, images: read.append(shard) or store_read(self, shard))
    data = dataset(stores['shards'], buffer_size=1)
    data.set_batches(4, False)
    data.resume_at(0, 3)
    assert len(list(data)) == NUM_SHAPES - 12
    assert 1 <= len(read) <= 3


def test_the_buffer_mixes_shards(stores):
    plain = [item['sample_id'] for item in dataset(stores['shards'], shuffle=False)]
    mixed = [item['sample_id'] for item in dataset(stores['shards'])]
    unmixed = [item['sample_id'] for item in dataset(stores['shards'], buffer_size=1)]
    assert sorted(plain) == sorted(mixed) == sorted(unmixed)
    assert mixed != unmixed != plain
    entries = [(0, position) for position in range(100)]
    order = buffer_order(entries, 10, (0,))
    assert sorted(order) == entries and order != entries
    assert all(entry[1] - turn < 10 for turn, entry in enumerate(order))


@pytest.mark.parametrize('world_size', [2, 5])
def test_processes_share_an_epoch(stores, monkeypatch, world_size):
    monkeypatch.setattr(depth_align_stream, 'get_world_size', lambda: world_size)
    seen, lengths = [], set()
    for rank in range(world_size):
        monkeypatch.setattr(depth_align_stream, 'get_rank', lambda rank=rank: rank)
        own = names(batches(dataset(stores['shards']), batch_size=2))
        seen += own
        lengths.add(len(own))
    assert len(lengths) == 1 and set(seen) == {shape.sample_id for shard in range(5)
                                                for shape in stores['shards'].read(shard)}
    assert len(seen) == NUM_SHAPES + -NUM_SHAPES % world_size


def test_more_processes_than_objects():
    shares = [share_of_process([(0, 0), (0, 1)], rank, 3) for rank in range(3)]
    assert [len(share) for share in shares] == [1, 1, 1]


def test_whole_batches_for_each_worker():
    entries = [(0, position) for position in range(23)]
    for workers in (1, 2, 3, 7):
        parts = [share_of_worker(entries, worker, workers, 4, False) for worker in range(workers)]
        assert sorted(sum(parts, [])) == entries
        assert [len(part) % 4 for part in parts].count(3) == 1
        assert sum(len(share_of_worker(entries, worker, workers, 4, True)) for worker in range(workers)) == 20


def streaming_config(work_dir, store, **options):
    config = tiny_config(work_dir, epochs=2)
    config.train_dataloader = dict(
        batch_size=4, num_workers=options.pop('workers', 0), persistent_workers=False, sampler=None,
        dataset=dict(type='DepthAlignDataset', data_root=str(store.root), buffer_size=5,
                     pipeline=[dict(type='JitterImages'), dict(type='PackShapeInputs')], **options))
    config.train_cfg = dict(type='StreamingTrainLoop', max_epochs=2)
    config.default_hooks.checkpoint = dict(type='CheckpointHook', interval=1, by_epoch=False)
    config.custom_imports.imports.append('test_depth_align_dataset')
    config.experiment_name = str(work_dir)
    return config


def losses(work_dir) -> dict:
    return {step: (row['loss'], row['lr']) for step, row in scalars(work_dir).items()}


@pytest.mark.parametrize('workers', [0, 2])
def test_a_run_resumed_within_an_epoch_equals_an_uninterrupted_one(stores, tmp_path, workers):
    whole = tmp_path / 'whole'
    Runner.from_cfg(streaming_config(whole, stores['shards'], workers=workers)).train()
    expected = losses(whole)
    assert len(expected) == 10 and len(set(expected.values())) == 10
    final = torch.load(whole / 'iter_10.pth')['state_dict']
    for done in (3, 5, 7):
        parts = tmp_path / f'parts{done}'
        config = streaming_config(parts, stores['shards'], workers=workers)
        config.merge_from_dict(dict(resume=True, load_from=str(whole / f'iter_{done}.pth')))
        torch.manual_seed(99)
        Runner.from_cfg(config).train()
        resumed = {step[1]: value for step, value in losses(parts).items()}
        assert resumed == {step[1]: value for step, value in expected.items() if step[1] > done}
        for name, value in torch.load(parts / 'iter_10.pth')['state_dict'].items():
            assert torch.equal(value, final[name]), name


def test_other_batches_within_an_epoch_are_refused(stores, tmp_path):
    Runner.from_cfg(streaming_config(tmp_path / 'a', stores['shards'])).train()
    config = streaming_config(tmp_path / 'b', stores['shards'], workers=2)
    config.merge_from_dict(dict(resume=True, load_from=str(tmp_path / 'a/iter_3.pth')))
    with pytest.raises(ValueError, match='num_workers 0 -> 2'):
        Runner.from_cfg(config).train()
    config.merge_from_dict(dict(load_from=str(tmp_path / 'a/iter_5.pth')))
    config.experiment_name = 'from the end of an epoch'
    Runner.from_cfg(config).train()


def test_features_instead_of_images(stores, tmp_path):
    """Images are encoded once, and the loss is the same up to the half precision of the stored features."""
    model = tiny_model().eval()
    encode_images(model, StoredImages(stores['shards']), tmp_path / 'features')
    times = {path: path.stat().st_mtime_ns for path in (tmp_path / 'features').glob('*.safetensors')}
    assert len(times) == 5
    encode_images(model, StoredImages(stores['shards']), tmp_path / 'features')
    assert times == {path: path.stat().st_mtime_ns for path in times}
    found = {}
    for name, options in dict(images={}, features=dict(image_features=str(tmp_path / 'features'))).items():
        data = dataset(stores['shards'], pack=True, **options)
        batch = model.data_preprocessor(pseudo_collate([item for item, _ in zip(data, range(6))]))
        assert ('images' in batch['inputs']) == (name == 'images')
        found[name] = model(**batch, mode='loss')
    for key, value in found['images'].items():
        torch.testing.assert_close(found['features'][key], value, rtol=2e-3, atol=1e-5)

    config = streaming_config(tmp_path / 'run', stores['shards'], image_features=str(tmp_path / 'features'))
    Runner.from_cfg(config).train()
    assert len(losses(tmp_path / 'run')) == 10
    config = streaming_config(tmp_path / 'other', stores['shards'], image_features=str(tmp_path / 'features'))
    config.model.backbone.random_seed = 1
    with pytest.raises(RuntimeError, match='image features.*encode_images'):
        Runner.from_cfg(config).train()


def test_objects_that_the_filter_rejected_are_skipped(stores, tmp_path):
    copy = ShapeStore(shutil.copytree(stores['shards'].root, tmp_path / 'copy'))
    for shard in range(copy.num_shards):
        shapes = list(copy.read(shard))
        for shape in shapes:
            shape.metadata = dict(shape.metadata, kept=shape.metadata['category'] != 'chair')
        copy.rewrite_metadata(shard, shapes, {})
    kept = {item['category'] for item in dataset(copy)}
    assert kept == set(SHAPES['categories']) - {'chair'} and len(dataset(copy)) == NUM_SHAPES - 3
    assert len(list(dataset(copy, only_kept=False))) == NUM_SHAPES


def test_broken_stores_are_named(stores, tmp_path):
    with pytest.raises(FileNotFoundError, match='nowhere.*generate_images'):
        DATASETS.build(dict(type='DepthAlignDataset', data_root=str(tmp_path / 'nowhere')))
    copy = ShapeStore(shutil.copytree(stores['shards'].root, tmp_path / 'copy'))
    whole = copy.shard_path(2).read_bytes()
    # In the middle of a file, and between two objects, where a tar archive looks whole.
    for length in (len(whole) // 2 // 512 * 512 + 100, whole.rindex(b'depth_0.png') // 512 * 512 - 512):
        copy.shard_path(2).write_bytes(whole[:length])
        with pytest.raises(ValueError, match='shard-000002.tar'):
            list(dataset(copy))
    copy.shard_path(2).write_bytes(whole)
    copy.manifest_path(4).unlink()
    with pytest.raises(FileNotFoundError, match='shard 4.*is not done'):
        dataset(copy)


def test_unreadable_objects_are_replaced_by_others_of_their_shard(stores, tmp_path):
    copy = ShapeStore(shutil.copytree(stores['shards'].root, tmp_path / 'copy'))
    whole = copy.shard_path(1).read_bytes()
    shapes = list(copy.read(1))
    # The first object of shard 1 has an image that cannot be decoded.
    damaged = bytearray(whole)
    start = whole.index(shapes[0].image_files[0])
    damaged[start:start + 8] = b'no image'
    copy.shard_path(1).write_bytes(damaged)
    with pytest.raises(ValueError, match=f'image of {shapes[0].sample_id}'):
        list(dataset(copy))
    expected = [row['sample_id'] for shard in range(copy.num_shards) for row in copy.rows(shard)]
    expected[expected.index(shapes[0].sample_id)] = shapes[1].sample_id
    skipping = dataset(copy, on_unreadable='skip')
    assert sorted(item['sample_id'] for item in skipping) == sorted(expected)
    assert names(batches(dataset(copy, on_unreadable='skip'), workers=2)) == names(
        batches(dataset(copy, on_unreadable='skip'), workers=2))
    for done in range(1, 4):  # an epoch that resumes gives the same replacement
        resumed = dataset(copy, on_unreadable='skip')
        resumed.resume_at(0, done)
        assert batches(resumed) == batches(dataset(copy, on_unreadable='skip'))[done:]
    # Two of 18 are more than one in a hundred.
    copy.shard_path(1).write_bytes(damaged[:damaged.index(shapes[2].image_files[0])])
    with pytest.raises(ValueError, match='2 of 18 samples cannot be read'):
        list(dataset(copy, on_unreadable='skip'))
    skipping._replaced.limit = None
    expected = [name for name in expected if name not in (shapes[2].sample_id, shapes[3].sample_id)]
    assert sorted(item['sample_id'] for item in skipping) == sorted(expected + 2 * [shapes[1].sample_id])


def test_depth_views_without_images_are_no_training_set(tmp_path):
    store = depth_store(tmp_path / 'depth')
    assert next(iter(store.read(0))).depth_views().shape == (VIEWS, SIZE, SIZE)
    with pytest.raises(ValueError, match='no image of'):
        list(dataset(store))


def test_the_streaming_loop_refuses_other_datasets(tmp_path):
    config = tiny_config(tmp_path)
    config.train_cfg = dict(type='StreamingTrainLoop', max_epochs=1)
    config.experiment_name = str(tmp_path)
    with pytest.raises(ValueError, match='DepthAlignDataset, not a BuiltInShapes'):
        Runner.from_cfg(config).train()
