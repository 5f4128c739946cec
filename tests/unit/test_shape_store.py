"""Stores on disk: what is damaged is named or noticed, any name has a file, and images need not be read."""
import errno
import io
import json
import os
import tarfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet
from webdataset.tariterators import group_by_keys, tar_file_iterator

from helpers.stored_shapes import noise_shape, noise_store
from opendlign_mm.datasets.store import PackedShape, ShapeStore
from opendlign_mm.datasets.store.manifest import problem_row

LAYOUTS = ('shards', 'folder')


@pytest.mark.parametrize('layout', LAYOUTS)
def test_a_store_returns_what_was_written(tmp_path, layout):
    store = noise_store(tmp_path / layout, layout=layout)
    shapes = [shape for shard in range(3) for shape in store.read(shard)]
    assert [shape.sample_id for shape in shapes] == list('abcdef') and store.missing() == []
    for shape in shapes:
        expected = noise_shape(shape.sample_id)
        assert shape.metadata == expected.metadata
        assert np.array_equal(shape.depth_views(), expected.depth_views())
        assert np.array_equal(shape.images(), expected.images())


def test_webdataset_reads_the_same_files(tmp_path):
    store = noise_store(tmp_path)
    for shard in range(3):
        with open(store.shard_path(shard), 'rb') as stream:
            samples = list(group_by_keys(dict(file, __url__='') for file in tar_file_iterator(stream)))
        for sample, shape in zip(samples, store.read(shard), strict=True):
            assert [sample[f'depth_{view}.png'] for view in range(2)] == shape.depth_files
            assert [sample[f'image_{view}.png'] for view in range(2)] == shape.image_files
            assert json.loads(sample['json']) == shape.metadata


@pytest.mark.skipif(not Path('/proc/self/io').exists(), reason='bytes read are counted by Linux')
def test_images_are_not_read_from_the_disk_if_they_are_not_needed(tmp_path):
    store = noise_store(tmp_path, views=4, size=128)
    files = [len(file) for shape in store.read(0) for file in shape.depth_files]

    def bytes_read(images: bool) -> int:
        def total() -> int:
            return int(Path('/proc/self/io').read_text().split('rchar:')[1].split()[0])

        before = total()
        shapes = list(store.read(0, images=images))
        assert all(bool(shape.image_files) == images for shape in shapes)
        assert [len(file) for shape in shapes for file in shape.depth_files] == files
        return total() - before

    assert bytes_read(True) > store.shard_path(0).stat().st_size * .95
    assert sum(files) < bytes_read(False) < sum(files) * 1.3


@pytest.mark.parametrize('spoilt', ['depth_map/b_dm.npy', 'depth_align_img/a/1.png'])
def test_a_changed_size_of_a_loose_file_is_noticed(tmp_path, spoilt):
    store = noise_store(tmp_path, layout='folder')
    path = tmp_path / 'shapes' / spoilt
    whole = path.read_bytes()
    path.write_bytes(whole[:-1])
    assert store.missing() == [0]
    path.write_bytes(whole + b'x')
    assert store.missing() == [0]
    path.unlink()
    assert store.missing() == [0]
    path.write_bytes(whole)
    assert store.missing() == []


METADATA = {
    'no JSON': (b'{"sample_id": ', 'not JSON'),
    'no text': (b'\xff\xfe\x00', 'not JSON'),
    'a list': (b'[1]', 'no sample_id'),
    'a number as name': (b'{"sample_id": 3}', 'no sample_id'),
    'nothing': (None, 'no metadata')}


@pytest.mark.parametrize('damage', METADATA)
def test_damaged_metadata_name_the_shard(tmp_path, damage):
    contents, problem = METADATA[damage]
    store = noise_store(tmp_path)
    shape = noise_shape('a')
    with tarfile.open(store.shard_path(1), 'w') as tar:
        for name, file in {'a.depth_0.png': shape.depth_files[0], 'a.json': contents}.items():
            if file is not None:
                member = tarfile.TarInfo(name)
                member.size = len(file)
                tar.addfile(member, io.BytesIO(file))
    with pytest.raises(ValueError, match=f'shard-000001.tar is damaged or truncated.*{problem}.*run the command'):
        list(store.read(1))


@pytest.mark.parametrize('entries', ['null', '[1]', '[{}]', '{"sample_id": "a"}', '[{"sample_id": 1}]', '{"cut'])
def test_damaged_metadata_of_loose_files_are_named(tmp_path, entries):
    store = noise_store(tmp_path, layout='folder')
    (tmp_path / 'shapes/metadata/000001.json').write_text(entries)
    with pytest.raises(ValueError, match=r'metadata/000001.json is not .*Run the command'):
        list(store.read(1))


def test_damaged_manifests_are_named(tmp_path):
    store = noise_store(tmp_path)
    path = store.manifest_path(1)
    whole = path.read_bytes()
    generator = np.random.default_rng(0)
    damaged = [b'', b'PAR1', whole[:100], whole[:-20], whole[50:]]
    for _ in range(60):
        flipped = bytearray(whole)
        for place in generator.integers(0, len(whole), 20):
            flipped[place] = generator.integers(256)
        damaged.append(bytes(flipped))
    other = io.BytesIO()
    parquet.write_table(pa.table(dict(x=[1])), other)
    damaged.append(other.getvalue())
    refused = 0
    for contents in damaged:
        path.write_bytes(contents)
        try:
            store.rows(1)
        except ValueError as error:
            assert '000001.parquet cannot be read' in str(error) and 'run the command' in str(error)
            assert store.missing() == [1]
            refused += 1
    assert refused >= 30  # changed bytes of a text are not always noticed


@pytest.mark.parametrize('description', [
    'null', '[]', '{}', '{"layout": "shards"}', '{"layout": "tape", "num_shapes": 2, "shapes_per_shard": 1, '
    '"settings": {}}', '{"layout": "shards", "num_shapes": "2", "shapes_per_shard": 1, "settings": {}}',
    '{"layout": "shards", "num_shapes": 2, "shapes_per_shard": 0, "settings": {}}', '{"layout": '])
def test_a_damaged_description_is_named(tmp_path, description):
    (tmp_path / 'store.json').write_text(description)
    with pytest.raises(ValueError, match=r'store.json .*'):
        ShapeStore(tmp_path)


@pytest.mark.parametrize('layout', LAYOUTS)
@pytest.mark.parametrize('name', ['../up', 'a/b', '.', '~', 'x' * 400, '椅子' * 60, 'A b:c*?"<>|'])
def test_any_name_has_a_file_inside_the_store(tmp_path, layout, name):
    store = noise_store(tmp_path / 'in' / 'store', [name, 'plain'], layout=layout)
    assert store.missing() == []
    assert [shape.sample_id for shape in store.read(0)] == [name, 'plain']
    assert [path.name for path in tmp_path.iterdir()] == ['in']
    assert [path.name for path in (tmp_path / 'in').iterdir()] == ['store']


@pytest.mark.parametrize('name', ['nul\0', os.fsdecode(b'caf\xe9')])
def test_a_name_that_cannot_be_stored_is_refused_and_can_be_listed(tmp_path, name):
    with pytest.raises(ValueError, match='not UTF-8; rename it'):
        noise_shape(name)
    store = ShapeStore.create(tmp_path, 'shards', 2, 2, {})
    store.write(0, [noise_shape('a')], [problem_row(name, f'{name} is bad')])
    assert [bool(row['problem']) for row in store.rows(0)] == [False, True]


def test_two_objects_of_one_name_are_refused(tmp_path):
    store = ShapeStore.create(tmp_path, 'folder', 2, 2, {})
    with pytest.raises(ValueError, match="two objects of the sample_id 'a'"):
        store.write(0, [noise_shape('a'), noise_shape('a', seed=1)])
    assert not store.manifest_path(0).exists()


def test_too_many_open_files_do_not_make_a_shard_count_as_damaged(tmp_path, monkeypatch):
    store = noise_store(tmp_path)

    def no_file(*_, **__):
        raise OSError(errno.EMFILE, 'Too many open files')

    for place in ('builtins.open', 'pyarrow.parquet.ParquetFile'):
        with monkeypatch.context() as patch:
            patch.setattr(place, no_file)
            with pytest.raises(OSError, match='Too many open files'):
                list(store.read(1)) if place == 'builtins.open' else store.missing()
    assert store.missing() == []


def test_only_a_full_disk_asks_for_room(tmp_path):
    store = ShapeStore.create(tmp_path, 'shards', 2, 2, {})
    (tmp_path / 'manifest').write_text('a file in the way')
    with pytest.raises(OSError, match='shard 0 cannot be written.*0 of 1 shards are done and kept') as caught:
        store.write(0, [PackedShape(dict(sample_id='a'), [])])
    assert 'make room' not in str(caught.value)
