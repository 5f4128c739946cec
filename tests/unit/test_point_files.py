"""Reading the points of whatever a user has: formats, objects in Python, folders, and what is refused."""
import json
import struct

import laspy
import lazrs
import numpy as np
import open3d
import pytest
import torch
import trimesh
from plyfile import PlyData, PlyElement

from opendlign_mm.point_files import list_inputs, read_points

XYZ = np.array([[0, 0, 0], [1.5, -2.25, 3], [4, 5, -6.125], [.5, .25, 8]])
RGB = np.array([[255, 0, 10], [0, 128, 20], [7, 8, 9], [250, 251, 252]], dtype=np.uint8)
ROWS = np.hstack([XYZ, RGB])


def write_ply(path, text, byte_order):
    vertices = np.zeros(4, [(axis, 'f8') for axis in 'xyz'] + [(name, 'u1') for name in ('red', 'green', 'blue')])
    for column, name in enumerate(vertices.dtype.names):
        vertices[name] = ROWS[:, column]
    PlyData([PlyElement.describe(vertices, 'vertex')], text=text, byte_order=byte_order).write(str(path))


def write_pcd(path, **how):
    cloud = open3d.geometry.PointCloud(open3d.utility.Vector3dVector(XYZ))
    cloud.colors = open3d.utility.Vector3dVector(RGB / 255)
    assert open3d.io.write_point_cloud(str(path), cloud, **how)


def write_las(path):
    header = laspy.LasHeader(point_format=2, version='1.2')
    header.scales, header.offsets = [1e-3] * 3, [400_000, 5_000_000, 0]
    las = laspy.LasData(header)
    las.xyz = XYZ + [400_000, 5_000_000, 0]
    las.red, las.green, las.blue = RGB.T.astype(np.uint16) * 257
    las.write(str(path))


WRITERS = {
    'ascii.ply': lambda path: write_ply(path, True, '<'),
    'little.ply': lambda path: write_ply(path, False, '<'),
    'big.ply': lambda path: write_ply(path, False, '>'),
    'ascii.pcd': lambda path: write_pcd(path, write_ascii=True),
    'binary.pcd': lambda path: write_pcd(path),
    'compressed.pcd': lambda path: write_pcd(path, compressed=True),
    'blanks.xyz': lambda path: np.savetxt(path, ROWS, fmt='%.4f'),
    'commas.txt': lambda path: np.savetxt(path, ROWS, fmt='%.4f', delimiter=','),
    'tabs.csv': lambda path: np.savetxt(path, ROWS, fmt='%.4f', delimiter='\t'),
    'names.csv': lambda path: np.savetxt(path, ROWS[:, [3, 4, 5, 2, 0, 1]], fmt='%.4f', delimiter=';', comments='',
                                         header='Red;Green;Blue;Z;X;Y'),
    'comment.txt': lambda path: np.savetxt(path, ROWS, fmt='%.4f', header='X Y Z R G B', comments='//'),
    'counted.pts': lambda path: np.savetxt(path, np.insert(ROWS, 3, -800, axis=1), fmt='%.4f', header='4', comments=''),
    'a.npy': lambda path: np.save(path, ROWS),
    'a.npz': lambda path: np.savez_compressed(path, points=XYZ, colors=RGB),
    'a.las': write_las,
    'a.laz': write_las,
    'a.bin': lambda path: ROWS.astype('<f4').tofile(path)}


@pytest.mark.parametrize('damage, message', [('count', '4294967295 chunks'), ('bytes', '2147483647 bytes of')])
def test_a_laz_file_of_more_chunks_than_it_can_hold_is_refused(tmp_path, damage, message):
    path = tmp_path / 'a.laz'
    write_las(path)
    with laspy.open(path) as file:
        start, laszip = file.header.offset_to_point_data, file.header.vlrs[0]
    content = path.read_bytes()
    table, = struct.unpack_from('<q', content, start)
    with path.open('r+b') as file:
        file.seek(table)
        if damage == 'count':  # the decompressor would reserve 69 GB for so many and end the process
            file.write(struct.pack('<II', 0, 2**32 - 1))
        else:
            lazrs.write_chunk_table(file, [(4, 2**31 - 1)], lazrs.LazVlr(laszip.record_data))
    with pytest.raises(ValueError, match=message):
        read_points(path)


@pytest.mark.parametrize('name', WRITERS)
def test_each_format_gives_the_points_and_colors_that_were_written(tmp_path, name):
    WRITERS[name](tmp_path / name)
    cloud = read_points(tmp_path / name, dims=6 if name == 'a.bin' else None)
    shift = [400_000, 5_000_000, 0] if name[-4:] in ('.las', '.laz') else [0, 0, 0]
    assert cloud.points.dtype == np.float64 and cloud.colors.dtype == np.float32
    np.testing.assert_allclose(cloud.points, XYZ + shift, atol=1e-6)
    np.testing.assert_allclose(cloud.colors, RGB / 255, atol=1e-6)
    assert (cloud.name, cloud.kind) == (name, 'cloud')
    assert (cloud.up, cloud.units) == (('z', 'm') if any(shift) else (None, None))


@pytest.mark.parametrize('ending, up', [('obj', None), ('off', None), ('stl', None), ('ply', None), ('glb', 'y'),
                                        ('gltf', 'y')])
def test_a_mesh_is_sampled_evenly_and_the_same_each_time(tmp_path, ending, up):
    trimesh.creation.box((1, 2, 3)).export(tmp_path / f'box.{ending}')
    cloud = read_points(tmp_path / f'box.{ending}', mesh_points=4000)
    assert (cloud.kind, cloud.up, cloud.points.shape) == ('mesh', up, (4000, 3))
    on_top = np.isclose(cloud.points[:, 2], 1.5).mean()
    assert on_top == pytest.approx(2 / 22, abs=.02), 'the top has 2 of 22 square meters'
    np.testing.assert_array_equal(cloud.points, read_points(tmp_path / f'box.{ending}', mesh_points=4000).points)


def open3d_cloud():
    return open3d.geometry.PointCloud(open3d.utility.Vector3dVector(XYZ))


@pytest.mark.parametrize('source', [
    XYZ, XYZ.tolist(), torch.from_numpy(XYZ), torch.from_numpy(XYZ).requires_grad_(), open3d_cloud(),
    open3d.t.geometry.PointCloud.from_legacy(open3d_cloud()), trimesh.PointCloud(XYZ)])
def test_objects_in_python_give_their_points(source):
    np.testing.assert_allclose(read_points(source).points, XYZ, atol=1e-6)


@pytest.mark.parametrize('source', [
    trimesh.creation.box(), open3d.geometry.TriangleMesh.create_box(),
    trimesh.Scene([trimesh.creation.box()])])
def test_mesh_objects_are_sampled(source):
    cloud = read_points(source, mesh_points=500)
    assert cloud.kind == 'mesh' and cloud.points.shape == (500, 3)
    assert np.ptp(cloud.points, axis=0) == pytest.approx([1, 1, 1], abs=.05)


def test_normals_are_not_taken_for_colors(tmp_path):
    np.savetxt(tmp_path / 'a.txt', np.hstack([XYZ, -XYZ]))
    assert read_points(tmp_path / 'a.txt').colors is None
    assert read_points(np.hstack([XYZ, XYZ * 100])).colors is None
    np.testing.assert_allclose(read_points(np.hstack([XYZ, RGB / 255])).colors, RGB / 255, atol=1e-2)


def test_points_without_a_measurement_are_left_out_with_a_warning(tmp_path):
    points = XYZ.copy()
    points[1, 2], points[3, 0] = np.nan, np.inf
    np.savetxt(tmp_path / 'a.csv', np.hstack([points, RGB]), delimiter=',')
    with pytest.warns(UserWarning, match='2 of 4 points have coordinates that are NaN or infinite and were left out'):
        cloud = read_points(tmp_path / 'a.csv')
    np.testing.assert_array_equal(cloud.points, XYZ[[0, 2]])
    np.testing.assert_allclose(cloud.colors, RGB[[0, 2]] / 255, atol=1e-6)


def pcd_header(points, data, fields='x y z', **more):
    count = len(fields.split())
    return (f'VERSION .7\nFIELDS {fields}\nSIZE {"4 " * count}\nTYPE {"F " * count}\nCOUNT {"1 " * count}\nWIDTH '
            f'{points}\nHEIGHT 1\nVIEWPOINT 0 0 0 1 0 0 0\nPOINTS {points}\nDATA {data}\n').encode()


BAD_FILES = {
    'empty.ply': (b'', 'empty.ply is empty'),
    'one.xyz': (b'1 2 3\n', 'one.xyz has one point only'),
    'same.csv': (b'1,2,3\n1,2,3\n', 'all points at one place'),
    'nothing.pcd': (pcd_header(0, 'ascii'), 'nothing.pcd has no points'),
    'nan.txt': (b'nan nan nan\nnan 0 0\n', 'all of its 2 points have coordinates that are NaN or infinite'),
    'words.txt': (b'some words\nand more\n', 'line 1 is neither numbers nor names'),
    'columns.csv': (b'1,2\n3,4\n', r'\(N, >=3\) with x, y, z first'),
    'jagged.xyz': (b'1 2 3\n1 2\n', 'jagged.xyz cannot be read'),
    'picture.jpg': (b'\xff\xd8', r'of no known format \(.jpg\)'),
    'none': (b'1 2 3', 'it has no ending'),
    'text.ply': (b'hello', 'text.ply cannot be read'),
    'cut.pcd': (pcd_header(3, 'binary') + struct.pack('<6f', *range(6)), 'has 2 points, its header announces 3'),
    'bomb.pcd': (pcd_header(10, 'binary_compressed') + struct.pack('<II', 20, 2**31), 'holds 2147483648 bytes'),
    'many.pcd': (pcd_header(10**9, 'binary'), 'announces 1000000000 points'),
    'fields.pcd': (pcd_header(1, 'ascii', fields='x y') + b'1 2\n', 'has no field z, only x, y'),
    'headless.pcd': (b'VERSION .7\n', "no line 'DATA'"),
    'scan.las': (b'LASF' + bytes(100), 'scan.las cannot be read'),
    'values.bin': (bytes(48), 'say how many float32 values'),
    'a.npz': (b'PK no zip', 'a.npz cannot be read'),
    'a.glb': (b'glTF', 'a.glb cannot be read')}


@pytest.mark.parametrize('name', BAD_FILES)
def test_a_bad_file_is_refused_with_one_message_that_names_it(tmp_path, name):
    content, message = BAD_FILES[name]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=message) as caught:
        read_points(tmp_path / name)
    assert str(tmp_path / name) in str(caught.value)


def test_other_bad_inputs_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match='missing.ply does not exist'):
        read_points(tmp_path / 'missing.ply')
    np.save(tmp_path / 'a.npy', XYZ)
    with pytest.raises(ValueError, match='a.npy has 4 points, and at most 3 are read'):
        read_points(tmp_path / 'a.npy', max_points=3)
    XYZ.astype('<f4').tofile(tmp_path / 'a.bin')
    with pytest.raises(ValueError, match='48 bytes are not a multiple of 20'):
        read_points(tmp_path / 'a.bin', dims=5)
    for source, message in ((np.zeros((4, 2)), r'\(N, >=3\) with x, y, z first'), (3, 'not from a int'),
                            (np.array([['a'] * 3]), 'must be numbers'), (open3d.geometry.LineSet(), 'LineSet')):
        with pytest.raises(ValueError, match=message):
            read_points(source)
    np.savez(tmp_path / 'b.npz', first=XYZ, second=XYZ)
    with pytest.raises(ValueError, match="no array 'points' or 'xyz', only first, second"):
        read_points(tmp_path / 'b.npz')
    np.savez(tmp_path / 'c.npz', points=np.array([{}], dtype=object))
    with pytest.raises(ValueError, match='Python objects'):
        read_points(tmp_path / 'c.npz')


def test_folders_and_patterns_are_expanded_and_lists_keep_their_order(tmp_path):
    for name in ('b.ply', 'a.xyz', 'deeper/c.PCD', 'notes.md', '.hidden/d.ply', '.e.ply'):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text('x')
    found = [tmp_path / name for name in ('a.xyz', 'b.ply', 'deeper/c.PCD')]
    assert list_inputs(tmp_path) == list_inputs(str(tmp_path)) == found
    assert list_inputs(str(tmp_path / '**/*.[pPx]*')) == found
    assert list_inputs([tmp_path / 'missing.ply', XYZ, tmp_path])[2:] == found
    assert list_inputs('https://example.org/a*.ply') == ['https://example.org/a*.ply']
    assert list_inputs(XYZ.tolist()) == [XYZ.tolist()]
    with pytest.raises(FileNotFoundError, match=r'no file matches .*\*\.las'):
        list_inputs(str(tmp_path / '*.las'))
    (tmp_path / 'empty').mkdir()
    with pytest.raises(ValueError, match='empty has no file of a known format'):
        list_inputs(tmp_path / 'empty')
    with pytest.raises(ValueError, match='the list of inputs is empty'):
        list_inputs([])


def test_the_buffers_of_a_gltf_file_are_no_inputs(tmp_path):
    trimesh.creation.box().export(tmp_path / 'box.gltf')
    buffer = json.loads((tmp_path / 'box.gltf').read_text())['buffers'][0]['uri']
    assert (tmp_path / buffer).exists() and buffer.endswith('.bin')
    assert list_inputs(tmp_path) == [tmp_path / 'box.gltf']
