"""Small files that would fill the memory, hang, or read other files of the machine end in one error each."""
import json
import os
import pickle
import resource
import struct
import subprocess
import sys

import h5py
import numpy as np
import pytest
from PIL import Image

from helpers.tool_modules import REPOSITORY
from opendlign_mm.point_files.array_files import h5_records
from opendlign_mm.point_files.restricted_pickle import read_pickle
from opendlign_mm.point_files.shape_files import read_shape


@pytest.fixture(autouse=True)
def little_memory():
    """Two GB more than now: what reserves more fails with another error than the one that is expected."""
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    pages = int(open('/proc/self/statm').read().split()[0]) if os.path.exists('/proc/self/statm') else None
    if pages is not None:
        resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + 2 * 2**30, hard))
    yield
    resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def refused(path, *words, **options):
    with pytest.raises(ValueError) as error:
        read_shape(path, **options)
    assert str(path) in str(error.value) and all(word in str(error.value) for word in words), str(error.value)


def gltf(path, accessors, count_of_nodes=1, buffers=(), **header):
    header = dict(asset=dict(version='2.0'), scene=0, scenes=[dict(nodes=list(range(count_of_nodes)))],
                  nodes=[dict(mesh=0)] * count_of_nodes, buffers=list(buffers), accessors=accessors, bufferViews=[],
                  meshes=[dict(primitives=[dict(attributes=dict(POSITION=0))])], **header)
    path.write_text(json.dumps(header))
    return path


def npy_of(path, payload):
    """An npy file of one object whose pickle is ``payload``."""
    with open(path, 'wb') as file:
        np.lib.format.write_array_header_1_0(file, dict(shape=(), fortran_order=False, descr='|O'))
        file.write(payload)
    return path


@pytest.mark.parametrize('rows', [200_000_000, 30_000_000])
def test_h5_files_that_announce_more_than_they_hold(tmp_path, rows):
    with h5py.File(tmp_path / 'a.h5', 'w') as file:
        file.create_dataset('data', (rows, 3), 'f4', chunks=(1024, 3))
        file.create_dataset('label', (rows, ), 'i4', chunks=(1024, ))
    assert (tmp_path / 'a.h5').stat().st_size < 10_000
    refused(tmp_path / 'a.h5', 'announces', 'holds none')
    with h5py.File(tmp_path / 'a.h5', 'a') as file:
        file['data'][0] = file['label'][0] = 1
    refused(tmp_path / 'a.h5', f'announces {3 * rows} values', 'at most')
    with pytest.raises(ValueError, match=f'a.h5 cannot be read: it announces {rows} labels'):
        h5_records(tmp_path / 'a.h5', ['cup', 'mug'], 'a')


def test_h5_files_with_values_in_other_files(tmp_path):
    secret = tmp_path / 'secret'
    secret.write_bytes(np.ones(30, 'f4').tobytes())
    with h5py.File(tmp_path / 'other.h5', 'w') as file:
        file['data'] = np.ones((10, 3), 'f4')
    with h5py.File(tmp_path / 'external.h5', 'w') as file:
        file.create_dataset('data', (10, 3), 'f4', external=[(str(secret), 0, 120)])
    with h5py.File(tmp_path / 'virtual.h5', 'w') as file:
        layout = h5py.VirtualLayout((10, 3), 'f4')
        layout[:] = h5py.VirtualSource(str(tmp_path / 'other.h5'), 'data', (10, 3))
        file.create_virtual_dataset('data', layout)
    with h5py.File(tmp_path / 'link.h5', 'w') as file:
        file['data'] = h5py.ExternalLink(str(tmp_path / 'other.h5'), '/data')
    with h5py.File(tmp_path / 'links.h5', 'w') as file:
        file['there'] = h5py.ExternalLink(str(tmp_path / 'other.h5'), '/')
        file['data'] = h5py.SoftLink('/there/data')
    with h5py.File(tmp_path / 'circle.h5', 'w') as file:
        file['data'], file['there'] = h5py.SoftLink('/there'), h5py.SoftLink('/data')
    for name in ('external', 'virtual'):
        refused(tmp_path / f'{name}.h5', 'in other files')
    for name in ('link', 'links', 'circle'):
        refused(tmp_path / f'{name}.h5', 'link')
    with h5py.File(tmp_path / 'own.h5', 'w') as file:
        file['real/points'] = np.ones((10, 3), 'f4')
        file['data'] = h5py.SoftLink('real/points')
    assert read_shape(tmp_path / 'own.h5').points.shape == (10, 3)


def test_gltf_files_that_announce_more_than_they_hold(tmp_path):
    array = dict(componentType=5126, type='VEC3')
    for count in (300_000_000, 2**40, -1, 'many', 1e9):
        refused(gltf(tmp_path / 'a.gltf', [dict(array, count=count)]), 'announces')
    refused(gltf(tmp_path / 'a.gltf', [dict(array, count=15_000_000)] * 2), 'does not hold')
    # Meshes of a million vertices, shown a thousand times.
    refused(gltf(tmp_path / 'a.gltf', [dict(array, count=1_000_000)], count_of_nodes=1000), '1000000000 vertices')
    refused(gltf(tmp_path / 'a.gltf', 'accessors'), 'header')
    header = struct.pack('<4sIIII', b'glTF', 2, 100, 2**31, 0x4E4F534A)
    (tmp_path / 'a.glb').write_bytes(header + b'{}')
    refused(tmp_path / 'a.glb', 'whole binary glTF')


def test_headers_of_other_formats_that_announce_more_than_they_hold(tmp_path):
    for kind in ('ascii', 'binary_little_endian'):
        (tmp_path / 'a.ply').write_text(f'ply\nformat {kind} 1.0\nelement vertex 2000000000\nproperty float x\n'
                                        'property float y\nproperty float z\nend_header\n0 0 0\n')
        refused(tmp_path / 'a.ply', '2000000000')
    with open(tmp_path / 'a.npy', 'wb') as file:
        np.lib.format.write_array_header_1_0(file, dict(shape=(10**9, 3), fortran_order=False, descr='<f8'))
        file.write(b'0' * 100)
    refused(tmp_path / 'a.npy', 'announces 24000000000 bytes')


def test_small_pickles_that_make_large_arrays(tmp_path):
    array = b'cnumpy\nndarray\n'
    rebuild = b'cnumpy.core.multiarray\n_reconstruct\n'
    dtype = b"cnumpy\ndtype\n(S'f8'\ntR"
    state = b'(I1\n(I1000000000\nI3\nt' + dtype + b"I00\nS''\ntb."
    for payload in (array + b'((I1000000000\nI3\nttR.',                      # ndarray((10**9, 3))
                    rebuild + b'(' + array + b"(I1000000000\nt" + b"S'b'\ntR.",  # the same by NumPy's function
                    rebuild + b'(' + array + b"(I0\nt" + b"S'b'\ntR" + state,    # a state without values
                    b'\x8e' + struct.pack('<Q', 2**36) + b'abc.',            # bytes of 64 GB
                    b'\x96' + struct.pack('<Q', 2**36) + b'abc.',            # a bytearray of 64 GB
                    b'\x95' + struct.pack('<Q', 2**36) + b'abc.',            # a frame of 64 GB
                    b'Nr\xff\xff\xff\x7fh\xff.'):                            # a reference with number 2**31
        refused(npy_of(tmp_path / 'a.npy', payload), 'cannot be read')
        (tmp_path / 'a.pkl').write_bytes(payload)
        if not payload.startswith(b'N'):
            with pytest.raises(ValueError, match='a.pkl cannot be read'):
                read_pickle(tmp_path / 'a.pkl', '')


def test_pickles_call_no_function(tmp_path, capsys):
    for payload in (b'cbuiltins\nprint\n(S"gone wrong"\ntR.', b'cos\nsystem\n(S"echo gone wrong"\ntR.',
                    b'(S"gone wrong"\niprint\n.', b'cnumpy\nload\n(S"/etc/passwd"\ntR.',
                    b'cnumpy.core.multiarray\nfrombuffer\n(S"x"\ntR.', b'cbuiltins\neval\n(S"1"\ntR.',
                    b'cnumpy\ndtype\n(S"O"\ntRN(NNNNNI0\nI0\nI0\ntb.', b'}(S"a"\nI1\nub.'):
        (tmp_path / 'a.pkl').write_bytes(payload)
        with pytest.raises(ValueError, match='a.pkl cannot be read'):
            read_pickle(tmp_path / 'a.pkl', '')
    assert 'gone wrong' not in capsys.readouterr().out


@pytest.mark.parametrize('protocol', range(6))
def test_arrays_and_plain_values_of_every_protocol_are_read(tmp_path, protocol):
    values = dict(
        arrays=[np.arange(6, dtype=dtype).reshape(2, 3) for dtype in ('u1', '<i4', '>f4', 'f2', 'f8', 'c16')],
        fortran=np.asfortranarray(np.arange(6.).reshape(2, 3)), flags=np.array([True, False]), none=None,
        texts=np.array(['chair', 'a']), bytes=np.array([b'ab']), empty=np.zeros((0, 7), np.float32),
        objects=np.array([dict(a=1), [np.float32(2)]], dtype=object),
        scalars=[np.float32(.5), np.int64(3), np.bool_(True)],
        plain=[1, 2.5, 'text', b'bytes', True, (1, (2, )), {'set'}, frozenset([4]), 2**80], big='x' * 70_000)
    shared = np.arange(3)
    values['shared'] = [shared, shared]
    (tmp_path / 'a.pkl').write_bytes(pickle.dumps(values, protocol))
    loaded = read_pickle(tmp_path / 'a.pkl', '')
    assert list(loaded) == list(values)
    for key in ('fortran', 'flags', 'texts', 'bytes', 'empty'):
        np.testing.assert_array_equal(loaded[key], values[key])
        assert loaded[key].dtype == values[key].dtype and loaded[key].shape == values[key].shape
    for array, expected in zip(loaded['arrays'], values['arrays'], strict=True):
        np.testing.assert_array_equal(array, expected)
        assert array.dtype == expected.dtype.newbyteorder('=') or array.dtype == expected.dtype
    assert loaded['objects'].tolist() == values['objects'].tolist() and loaded['scalars'] == values['scalars']
    assert loaded['plain'] == values['plain'] and loaded['big'] == values['big']
    assert loaded['shared'][0] is loaded['shared'][1] and loaded['shared'][0].tolist() == [0, 1, 2]


def test_textures_are_not_decoded(tmp_path):
    """An image of 13,000 x 13,000 pixels takes half a GB; Pillow refuses some, and decodes others."""
    import trimesh
    box = trimesh.creation.box()
    uv = np.zeros((len(box.vertices), 2))
    for name in ('a.obj', 'a.glb'):
        box.visual = trimesh.visual.TextureVisuals(uv=uv, image=Image.new('RGB', (2, 2)))
        box.export(tmp_path / name)
    (tmp_path / 'material_0.png').write_bytes(b'no image')
    Image.MAX_IMAGE_PIXELS, before = None, Image.MAX_IMAGE_PIXELS
    try:
        decoded = []
        original = Image.open
        Image.open = lambda *args, **kwargs: decoded.append(args) or original(*args, **kwargs)
        for name in ('a.obj', 'a.glb'):
            assert read_shape(tmp_path / name).points.shape == (10_000, 3)
    finally:
        Image.open, Image.MAX_IMAGE_PIXELS = original, before
    assert not decoded


def test_pipes_behind_other_files_do_not_hang(tmp_path):
    """In a process of its own, since a hang would be one of all tests."""
    os.mkfifo(tmp_path / 'pipe')
    (tmp_path / 'folder').mkdir()
    (tmp_path / 'a.obj').write_text('mtllib pipe\nusemtl x\nv 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n')
    array = dict(componentType=5126, type='VEC3', count=3, bufferView=0)
    for name, uri in (('a', 'pipe'), ('b', '/dev/zero'), ('c', '../../../../../../../dev/zero'), ('d', 'folder'),
                      ('e', '%2e%2e/x')):
        gltf(tmp_path / f'{name}.gltf', [array], buffers=[dict(uri=uri, byteLength=36)])
    os.mkfifo(tmp_path / 'shape.ply')
    code = ('import sys; from pathlib import Path; from opendlign_mm.point_files.shape_files import read_shape\n'
            'for name in sys.argv[2:]:\n'
            '    try: print(name, read_shape(Path(sys.argv[1]) / name).points.shape)\n'
            '    except (OSError, ValueError) as error: print(name, error)')
    names = ['a.obj', 'a.gltf', 'b.gltf', 'c.gltf', 'd.gltf', 'e.gltf', 'shape.ply']
    finished = subprocess.run([sys.executable, '-c', code, str(tmp_path), *names], capture_output=True, text=True,
                              timeout=120, env=dict(os.environ, PYTHONPATH=str(REPOSITORY)))
    lines = dict(line.split(' ', 1) for line in finished.stdout.splitlines())
    assert lines['a.obj'] == '(10000, 3)', finished.stderr[-2000:]
    assert all('which is not a file next to it' in lines[f'{name}.gltf'] for name in 'abcde')
    assert 'there is no shape file' in lines['shape.ply']


def test_buffers_next_to_a_gltf_file_are_read(tmp_path):
    (tmp_path / 'data').mkdir()
    (tmp_path / 'data/a b.bin').write_bytes(np.eye(3, dtype='f4').tobytes())
    header = json.loads(gltf(tmp_path / 'a.gltf', []).read_text())
    header.update(buffers=[dict(uri='data/a%20b.bin', byteLength=36)], bufferViews=[dict(buffer=0, byteLength=36)],
                  accessors=[dict(componentType=5126, type='VEC3', count=3, bufferView=0)])
    (tmp_path / 'a.gltf').write_text(json.dumps(header))
    points = read_shape(tmp_path / 'a.gltf').points
    np.testing.assert_allclose(points.sum(axis=1), 1, atol=1e-6)


@pytest.mark.parametrize('name, content', [
    ('a.off', 'OFF\n3 1 0\n0 0 0\n1 0 0\n0 1 0\n3 0 1 -1\n'),
    ('b.off', 'OFF\n3 1 0\n0 0 0\n1 0 0\n0 1 0\n3 0 1 7\n'),
    ('a.obj', 'v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 -1\n'),
    ('b.obj', 'v 0 0 0\nv 1 0 0\nv 0 1 0\nvt 0 0\nf 1/1 2/1 3/-1\n'),
    ('c.obj', 'v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 9\n'),
    ('a.ply', 'ply\nformat ascii 1.0\nelement vertex 3\nproperty float x\nproperty float y\nproperty float z\n'
              'element face 1\nproperty list uchar int vertex_indices\nend_header\n0 0 0\n1 0 0\n0 1 0\n3 0 1 -2\n')])
def test_faces_of_vertices_that_are_not_there(tmp_path, name, content):
    (tmp_path / name).write_text(content)
    refused(tmp_path / name)


def test_numbers_that_are_not_coordinates_or_colors(tmp_path):
    np.save(tmp_path / 'complex.npy', np.ones((5, 3), np.complex128))
    refused(tmp_path / 'complex.npy', 'must be numbers', 'complex128')
    np.save(tmp_path / 'colors.npy', dict(xyz=np.ones((5, 3)), rgb=np.full((5, 3), np.nan)), allow_pickle=True)
    refused(tmp_path / 'colors.npy', '5 of its 5 colors are NaN')
    np.save(tmp_path / 'words.npy', dict(xyz=np.ones((1, 3)), rgb=np.array([['r', 'g', 'b']])), allow_pickle=True)
    refused(tmp_path / 'words.npy', 'colors must be numbers')
    (tmp_path / 'a.ply').write_text(
        'ply\nformat ascii 1.0\nelement vertex 1\nproperty float x\nproperty float y\nproperty float z\n'
        'property float red\nproperty float green\nproperty float blue\nend_header\n0 0 0 nan 0 0\n')
    refused(tmp_path / 'a.ply', '1 of its 1 colors are NaN')


@pytest.mark.parametrize('ending', ['npy', 'txt', 'h5', 'ply', 'off'])
def test_a_cloud_far_from_the_origin_keeps_its_form(tmp_path, ending):
    """UTM coordinates in meters of an object of one meter; float32 would round them to 6 cm and more."""
    import trimesh
    form = np.random.default_rng(0).random((200, 3))
    far = form + [500_000., 5_000_000., 300.]
    path = tmp_path / f'a.{ending}'
    if ending == 'npy':
        np.save(path, far)
    elif ending == 'txt':
        np.savetxt(path, far, fmt='%.9f')
    elif ending == 'h5':
        with h5py.File(path, 'w') as file:
            file['data'] = far[None]
    elif ending == 'ply':
        from plyfile import PlyData, PlyElement
        rows = np.array([tuple(row) for row in far], dtype=[('x', 'f8'), ('y', 'f8'), ('z', 'f8')])
        PlyData([PlyElement.describe(rows, 'vertex')]).write(str(path))
    else:
        box = trimesh.creation.box((1, 1, 1))
        corners = box.vertices + [500_000.5, 5_000_000.5, 300.5]
        lines = [' '.join(f'{value:.9f}' for value in corner) for corner in corners]
        faces = [f'3 {a} {b} {c}' for a, b, c in box.faces]
        path.write_text('\n'.join(['OFF', f'{len(lines)} {len(faces)} 0', *lines, *faces]))
    shape = read_shape(path, index=0 if ending == 'h5' else None)
    assert shape.points.dtype == np.float32 and abs(shape.points).max() < 1
    restored = shape.points + shape.offset
    if ending == 'off':
        low, high = restored.min(axis=0), restored.max(axis=0)
        np.testing.assert_allclose([low, high], [[500_000, 5_000_000, 300], [500_001, 5_000_001, 301]], atol=1e-2)
        on_surface = np.isclose(restored - low, 0, atol=1e-3) | np.isclose(high - restored, 0, atol=1e-3)
        assert on_surface.any(axis=1).all()
    else:
        np.testing.assert_allclose(restored, far, atol=1e-6)


def test_clouds_near_the_origin_are_not_moved(tmp_path):
    for cloud in (np.random.default_rng(0).random((50, 3)) * 3 + 100, np.array([[1e6, 2, 3.]])):
        np.save(tmp_path / 'a.npy', cloud)
        shape = read_shape(tmp_path / 'a.npy')
        np.testing.assert_array_equal(shape.points, cloud.astype(np.float32))
        assert (shape.offset == 0).all()


def test_the_machines_errors_are_not_those_of_a_file(tmp_path, monkeypatch):
    np.save(tmp_path / 'a.npy', np.ones((3, 3)))
    monkeypatch.setattr('opendlign_mm.point_files.formats.load_npy', lambda path: (_ for _ in ()).throw(
        OSError(24, 'Too many open files')))
    with pytest.raises(OSError, match='Too many open files') as error:
        read_shape(tmp_path / 'a.npy')
    assert error.value.errno == 24
