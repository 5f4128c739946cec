"""Batches of objects: one tensor per kind of input, the same pixels as bytes and as floats, errors with names."""
import multiprocessing
import os
import pickle
import resource
import signal
import time

import numpy as np
import pytest
import torch
from mmengine.dataset import pseudo_collate
from mmengine.registry import FUNCTIONS
from torch.utils.data import DataLoader, Dataset

from opendlign_mm.datasets import collate_readable, collate_shapes
from opendlign_mm.datasets.transforms import PackShapeInputs
from opendlign_mm.datasets.unreadable import Unreadable
from opendlign_mm.models import ViewDataPreprocessor
from opendlign_mm.structures import ShapeDataSample


class Objects(Dataset):
    """Objects with small depth views and images."""

    def __init__(self, count, depth_dtype='float32'):
        self.count, self.pack = count, PackShapeInputs(depth_dtype)

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        random = np.random.default_rng(index)
        images = random.integers(0, 256, (2, 4, 4, 3), dtype=np.uint8)
        return self.pack(dict(depth_views=images[..., 0].astype(np.float32) / 255, images=images, gt_label=index,
                              sample_id=f'object_{index}', category='cup'))


def count_labels(collate, connection, workers=8, batch_size=64):
    """Run many workers with few file descriptors, in a group of processes of its own."""
    os.setsid()
    try:
        loader = DataLoader(Objects(workers * batch_size * 2), batch_size, num_workers=workers, collate_fn=collate,
                            prefetch_factor=2, timeout=60)
        reading = iter(loader)
        # The files of all batches that wait, and of those in use, are open in the process that trains.
        resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256))
        batches = list(reading)
        connection.send(sum(int(sample.gt_label) for batch in batches for sample in batch['data_samples']))
    except BaseException as error:
        connection.send(f'{type(error).__name__} {error}')
    time.sleep(100)  # until it is killed with its workers, some of which wait for ever to hand over a batch


@pytest.mark.parametrize('collate, works', [(collate_shapes, True), (pseudo_collate, False)])
def test_many_workers_with_large_batches_need_few_file_descriptors(collate, works):
    context = multiprocessing.get_context('fork')
    here, there = context.Pipe()
    process = context.Process(target=count_labels, args=(collate, there))
    process.start()
    try:
        assert here.poll(120)
        result = here.recv()
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.join()
    if works:
        assert result == sum(range(8 * 64 * 2))
    else:  # otherwise the limit above would say nothing
        assert isinstance(result, str) and ('ancdata' in result or 'Too many open files' in result), result


def test_pixels_as_bytes_are_those_as_floats():
    preprocessor = ViewDataPreprocessor()
    inputs = {}
    for depth_dtype in ('float32', 'uint8'):
        data = Objects(5, depth_dtype)
        assert data[0]['inputs']['depth_views'].dtype == getattr(torch, depth_dtype)
        for name, collate in (('ours', collate_shapes), ('pseudo', pseudo_collate)):
            batch = preprocessor(collate([data[index] for index in range(5)]))
            inputs[depth_dtype, name] = batch['inputs']
            assert [int(sample.gt_label) for sample in batch['data_samples']] == list(range(5))
    for other in inputs.values():
        for key, value in inputs['float32', 'pseudo'].items():
            assert torch.equal(value, other[key]) and value.dtype == other[key].dtype == torch.float32


def test_views_that_are_not_whole_255ths_stay_floats():
    views = np.linspace(0, 1, 2 * 4 * 4, dtype=np.float32).reshape(2, 4, 4)
    pack = PackShapeInputs('uint8')
    packed = [pack(dict(depth_views=array, sample_id='a')) for array in (views, np.ones_like(views), views * np.nan)]
    assert [sample['inputs']['depth_views'].dtype for sample in packed] == [torch.float32, torch.uint8, torch.float32]
    mixed = collate_shapes(packed[:2])['inputs']['depth_views']
    np.testing.assert_array_equal(mixed.numpy(), np.stack([views, np.ones_like(views)]))
    mixed = ViewDataPreprocessor()(pseudo_collate(packed[:2]))['inputs']['depth_views']
    np.testing.assert_array_equal(mixed.numpy(), np.stack([views, np.ones_like(views)]))
    with pytest.raises(ValueError, match="depth_dtype must be 'float32' or 'uint8', got 'half'"):
        PackShapeInputs('half')


def test_samples_that_do_not_fit_are_named():
    pack = PackShapeInputs()
    small, large = (pack(dict(depth_views=np.ones((2, size, size), np.float32), sample_id=f'views of {size}'))
                    for size in (4, 8))
    with pytest.raises(ValueError, match=r"'depth_views' of views of 4 has the shape \(2, 4, 4\), that of views of 8 "
                                         r'\(2, 8, 8\): use one resolution'):
        collate_shapes([small, small, large])
    with pytest.raises(ValueError, match='views of 4 has the inputs depth_views, and object_0 depth_views, images'):
        collate_shapes([small, Objects(1)[0]])
    with pytest.raises(ValueError, match='takes samples of PackShapeInputs, got a dict'):
        collate_shapes([dict(points=1)])


def test_unreadable_samples_keep_their_places():
    record, data = Unreadable('object_9', 'it is truncated'), Objects(2)
    batch = collate_readable([data[0], record, data[1]], collate=collate_shapes)
    assert batch['unreadable'] == {1: record} and batch['size'] == 3
    assert batch['batch']['inputs']['images'].shape == (2, 2, 3, 4, 4)
    assert collate_readable([record])['batch'] is None
    assert FUNCTIONS.get('collate_shapes') is collate_shapes and FUNCTIONS.get('collate_readable') is collate_readable


def test_data_samples_survive_pickling():
    sample = ShapeDataSample(metainfo=dict(sample_id='a', category='cup')).set_gt_label(3)
    sample.set_pred_scores(torch.tensor([.5, .25]), ['cup', 'mug'])
    sample.set_field(torch.ones(2, dtype=torch.bfloat16), 'half')
    again = pickle.loads(pickle.dumps(sample))
    assert type(again) is ShapeDataSample and again.metainfo == sample.metainfo
    assert set(again.keys()) == set(sample.keys())
    for name in sample.keys():
        assert torch.equal(again.get(name), sample.get(name)) and again.get(name).dtype == sample.get(name).dtype
