"""The cache never gives results of another file, folder, axis or setting, and survives damage and crowds."""
import io
import os
import threading
import zipfile

import numpy as np
import pytest
import torch
from mmdet3d.registry import DATASETS, TRANSFORMS
from mmengine.registry import init_default_scope

import opendlign_mm  # noqa: F401
from helpers.shape_fixtures import cloud
from opendlign_mm.datasets.transforms.disk_cache import record_key

PROJECTION = dict(resolution=16, depth_bins=8, view_angles=(30, 120))


@pytest.fixture(autouse=True)
def scope():
    init_default_scope('mmdet3d')


def pipeline(cache_dir, **load):
    return [dict(type='DiskCache', cache_dir=str(cache_dir), keys=['depth_views'], transforms=[
        dict(type='LoadShapePoints', **load), dict(type='ProjectPointsToDepth', projection=PROJECTION)])]


def views_of(root, cache_dir, **options):
    data = DATASETS.build(dict(type='ShapeFolder', data_root=str(root), pipeline=pipeline(cache_dir), **options))
    return data[0]['depth_views']


def uncached(root, **options):
    data = DATASETS.build(dict(type='ShapeFolder', data_root=str(root), pipeline=pipeline('unused')[0]['transforms'],
                               **options))
    return data[0]['depth_views']


def write_shape(root, name='cup/a.npy', seed='a'):
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, cloud(seed))
    return path


def is_of(views, expected):
    return np.abs(views - expected).max() <= .5 / 255 + 1e-6


def entries(cache):
    return [path for path in cache.rglob('*') if path.is_file()]


def test_another_up_axis_is_another_entry(tmp_path):
    write_shape(tmp_path / 'shapes')
    for up_axis in ('z', 'y', 'z'):
        views = views_of(tmp_path / 'shapes', tmp_path / 'cache', up_axis=up_axis)
        assert is_of(views, uncached(tmp_path / 'shapes', up_axis=up_axis))
    assert len(entries(tmp_path / 'cache')) == 2
    assert not is_of(uncached(tmp_path / 'shapes', up_axis='z'), uncached(tmp_path / 'shapes', up_axis='y'))


def test_another_folder_of_the_same_name_is_another_entry(tmp_path):
    for place, seed in (('one', 'a'), ('two', 'b')):
        write_shape(tmp_path / place / 'shapes', seed=seed)
        assert is_of(views_of(tmp_path / place / 'shapes', tmp_path / 'cache'), uncached(tmp_path / place / 'shapes'))


def test_an_edited_file_is_another_entry(tmp_path):
    path = write_shape(tmp_path / 'shapes')
    views_of(tmp_path / 'shapes', tmp_path / 'cache')
    before = path.stat()
    write_shape(tmp_path / 'shapes', seed='b')
    assert path.stat().st_size == before.st_size
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns + 1))
    assert is_of(views_of(tmp_path / 'shapes', tmp_path / 'cache'), uncached(tmp_path / 'shapes'))


def test_an_edited_buffer_of_a_gltf_file_is_another_entry(tmp_path):
    import trimesh
    for size in ((1, 1, 1), (1, 1, 5)):
        (tmp_path / 'shapes/cup').mkdir(parents=True, exist_ok=True)
        for name, content in trimesh.Scene(trimesh.creation.box(size)).export(file_type='gltf').items():
            (tmp_path / 'shapes/cup' / name).write_bytes(content)
        views = views_of(tmp_path / 'shapes', tmp_path / 'cache', extensions='.gltf')
        assert is_of(views, uncached(tmp_path / 'shapes', extensions='.gltf'))


def textured_mesh(folder, kind):
    """A mesh file with a texture, in three formats; returns the mesh and the files of its material and texture."""
    folder.mkdir(parents=True)
    (folder / 'skin of the cup.png').write_bytes(b'first')
    if kind == 'obj':
        (folder / 'cup.obj').write_text('# a cup\r\nmtllib ./my materials.mtl \r\nv 0 0 0\r\n')
        (folder / 'my materials.mtl').write_text('newmtl a\n  map_Kd skin of the cup.png\nKd 1 1 1\n')
        return folder / 'cup.obj', [folder / 'my materials.mtl', folder / 'skin of the cup.png']
    if kind == 'ply':
        (folder / 'cup.ply').write_text('ply\nformat ascii 1.0\ncomment TextureFile skin of the cup.png\nend_header\n')
    else:
        (folder / 'cup.gltf').write_text('{"images": [{"uri": "skin%20of%20the%20cup.png"}, {"bufferView": 0}]}')
    return folder / f'cup.{kind}', [folder / 'skin of the cup.png']


@pytest.mark.parametrize('kind', ['obj', 'ply', 'gltf'])
def test_an_edited_texture_or_material_is_another_object_where_it_is_read(tmp_path, kind):
    mesh, files = textured_mesh(tmp_path / 'mesh', kind)
    record = dict(sample_id='cup', points_path=str(mesh))
    keys, plain = [record_key(record, materials=True)], record_key(record)
    for file in files:
        file.write_bytes(file.read_bytes() + b'# longer')
        keys.append(record_key(record, materials=True))
    files[-1].unlink()
    keys.append(record_key(record, materials=True))
    assert len(set(keys)) == len(files) + 2
    assert record_key(record) == plain != keys[0], 'points have no texture'


def test_only_caches_of_renderings_look_at_textures(tmp_path):
    steps = [dict(type='LoadShapePoints'), dict(type='RenderImages', projection=PROJECTION)]
    caches = [TRANSFORMS.build(dict(type='DiskCache', keys=['images'], transforms=steps[:count]))
              for count in (1, 2)]
    assert [cache.reads_materials for cache in caches] == [False, True]
    nested = dict(type='DiskCache', keys=['images'], transforms=[
        dict(type='DiskCache', keys=['images'], transforms=steps)])
    assert TRANSFORMS.build(nested).reads_materials


def test_rows_and_keys_of_one_file_are_entries_of_their_own(tmp_path):
    import h5py
    with h5py.File(tmp_path / 'a.h5', 'w') as file:
        file['data'] = np.stack([cloud('a'), cloud('b')])
        file['other'] = np.stack([cloud('c'), cloud('d')])
    cache = TRANSFORMS.build(pipeline(tmp_path / 'cache')[0])
    found = []
    for key in ('data', 'other'):
        for row in range(2):
            record = dict(sample_id='same', points_path=str(tmp_path / 'a.h5'), points_index=row, points_key=key)
            cache(dict(record))
            found.append(cache(dict(record))['depth_views'])
    assert len({views.tobytes() for views in found}) == 4 == len(entries(tmp_path / 'cache'))


def test_the_entry_does_not_depend_on_label_and_place(tmp_path):
    for name in ('cup/a.npy', 'mug/b.npy'):
        write_shape(tmp_path / 'shapes', name)
    for options in ({}, dict(metainfo=dict(classes=['mug', 'cup'])), dict(indices=[0])):
        views_of(tmp_path / 'shapes', tmp_path / 'cache', **options)
    assert len(entries(tmp_path / 'cache')) == 1


@pytest.mark.parametrize('name', ['../../outside', '/absolute', 'x' * 300, 'nul\0byte', '椅子' * 90, '', '..'])
def test_entries_stay_in_the_folder_whatever_the_object_is_called(tmp_path, name):
    path = write_shape(tmp_path / 'shapes')
    cache = TRANSFORMS.build(pipeline(tmp_path / 'a/b/c/cache')[0])
    for _ in range(2):
        cache(dict(sample_id=name, points_path=str(path)))
    assert len(entries(tmp_path / 'a/b/c/cache')) == 1
    assert {path for path in tmp_path.rglob('*') if path.is_file()} == {path, *entries(tmp_path / 'a/b/c/cache')}


def damaged_entries(content):
    """Entries that raise BadZipFile, ValueError, NotImplementedError, TokenError, KeyError, ... or nothing at all."""
    yield from (b'', b'no zip', content[:100], content[:-10], content[:len(content) // 2] + b'x' * 50)
    unknown = bytearray(content)  # a compression that does not exist
    for place in (content.index(b'PK\x03\x04') + 8, content.index(b'PK\x01\x02') + 10):
        unknown[place:place + 2] = b'\x63\x00'
    yield bytes(unknown)
    array = io.BytesIO()
    np.save(array, np.zeros(3, np.uint8))
    for header in (b"{'descr': (", b"{'descr': '|u1', 'fortran_order': False, 'shape': (9999,), }", b'{"'):
        text = bytearray(array.getvalue())
        text[10:128] = header.ljust(117) + b'\n'
        file = io.BytesIO()
        with zipfile.ZipFile(file, 'w') as archive:
            archive.writestr('depth_views.npy', bytes(text))
        yield file.getvalue()
    file = io.BytesIO()
    np.savez(file, other=np.zeros(3))
    yield file.getvalue()
    file = io.BytesIO()
    np.savez(file, depth_views=np.array([dict(a=1)], dtype=object))
    yield file.getvalue()


def test_damaged_entries_are_made_again(tmp_path):
    write_shape(tmp_path / 'shapes')
    first = views_of(tmp_path / 'shapes', tmp_path / 'cache')
    entry, = entries(tmp_path / 'cache')
    content = entry.read_bytes()
    damages = list(damaged_entries(content))
    assert len(damages) == 11
    for damaged in damages:
        entry.write_bytes(damaged)
        np.testing.assert_array_equal(views_of(tmp_path / 'shapes', tmp_path / 'cache'), first)
        assert np.load(entry).files == ['depth_views']


def test_threads_that_make_the_same_entry_do_not_disturb_each_other(tmp_path):
    path = write_shape(tmp_path / 'shapes')
    expected = uncached(tmp_path / 'shapes')
    problems = []
    for attempt in range(5):
        caches = [TRANSFORMS.build(pipeline(tmp_path / f'cache{attempt}')[0]) for _ in range(8)]
        barrier = threading.Barrier(len(caches))

        def work(cache, barrier=barrier):
            try:
                barrier.wait()
                results = cache(dict(sample_id='shapes/cup/a.npy', points_path=str(path)))
                assert is_of(results['depth_views'], expected)
            except Exception as error:
                problems.append(error)

        threads = [threading.Thread(target=work, args=(cache, )) for cache in caches]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not problems and len(entries(tmp_path / f'cache{attempt}')) == 1


def test_a_disk_that_cannot_be_written_only_costs_time(tmp_path):
    write_shape(tmp_path / 'shapes')
    (tmp_path / 'file').write_text('')
    for _ in range(2):
        assert is_of(views_of(tmp_path / 'shapes', tmp_path / 'file/cache'), uncached(tmp_path / 'shapes'))


def test_what_cannot_be_kept_or_compared_is_refused(tmp_path):
    path = write_shape(tmp_path / 'shapes')
    record = dict(sample_id='cup', points_path=str(path))
    cache = TRANSFORMS.build(pipeline(tmp_path / 'cache')[0])
    with pytest.raises(ValueError, match="cup: DiskCache cannot compare 'sensor', a object"):
        cache(dict(record, sensor=object()))
    array, tensor = (dict(record, points=points) for points in (np.zeros(3), torch.ones(3)))
    for item in (array, tensor, dict(array, points=np.ones(3))):
        cache(item)
    assert len(entries(tmp_path / 'cache')) == 3
    for values in (np.full((2, 4, 4), np.nan), np.full((2, 4, 4), 2.)):
        cache.transforms = [lambda results, values=values: dict(results, depth_views=values)]
        with pytest.raises(ValueError, match=r"'depth_views' of mug must lie in \[0, 1\]"):
            cache(dict(record, sample_id='mug'))
