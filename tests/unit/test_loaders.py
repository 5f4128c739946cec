"""Loading transforms: formats, sampling, axes, and files that are broken in every way that happens."""
import pickle

import h5py
import numpy as np
import pytest
import torch
from mmdet3d.registry import TRANSFORMS
from PIL import Image

from helpers import shape_fixtures as fixtures
from opendlign_mm.datasets.transforms import (
    LoadDepthAlignedImages,
    LoadDepthViews,
    LoadShapePoints,
    PackShapeInputs,
    ProjectPointsToDepth,
)
from opendlign_mm.point_files.array_files import load_npy
from opendlign_mm.point_files.shape_files import read_shape


def points_of(path, sample_id='a', num_points=None, **record) -> np.ndarray:
    transform = TRANSFORMS.build(dict(type='LoadShapePoints', num_points=num_points))
    return transform(dict(points_path=str(path), sample_id=sample_id, **record))['points'].numpy()


def write(path, points):
    """The same points in the format of the file's ending."""
    import trimesh
    if path.suffix == '.npy':
        np.save(path, points)
    elif path.suffix == '.h5':
        with h5py.File(path, 'w') as file:
            file['data'] = points[None]
    elif path.suffix == '.txt':
        np.savetxt(path, points, delimiter=',' if 'comma' in path.name else ' ')
    else:
        trimesh.PointCloud(points).export(path)
    return path


FORMATS = ['a.npy', 'comma.txt', 'blank.txt', 'a.h5', 'a.ply', 'a.obj']


@pytest.mark.parametrize('name', FORMATS)
def test_formats(tmp_path, name):
    expected = fixtures.cloud('a', 50)
    path = write(tmp_path / name, expected)
    record = dict(points_index=0) if name.endswith('h5') else {}
    # trimesh writes eight decimals into text files.
    np.testing.assert_allclose(points_of(path, **record), expected, atol=1e-7)


@pytest.mark.parametrize('name', FORMATS)
def test_a_single_point_is_a_cloud(tmp_path, name):
    path = write(tmp_path / name, np.array([[.5, -1, 2]], np.float32))
    record = dict(points_index=0) if name.endswith('h5') else {}
    points = points_of(path, num_points=10, **record)
    np.testing.assert_allclose(points, [[.5, -1, 2]], atol=1e-6)
    results = ProjectPointsToDepth(dict(resolution=32, depth_bins=8, view_angles=(30, 120)))(
        dict(points=torch.from_numpy(points)))
    views = results['depth_views']
    assert np.isfinite(views).all() and (views.reshape(2, -1).min(1) < 1).all()


@pytest.mark.parametrize('name', FORMATS)
@pytest.mark.parametrize('value', [np.nan, np.inf])
def test_points_that_are_not_finite_are_counted(tmp_path, name, value):
    points = fixtures.cloud('a', 50)
    points[[3, 30], 1] = value
    path = write(tmp_path / name, points)
    record = dict(points_index=0) if name.endswith('h5') else {}
    with pytest.raises(ValueError, match=rf'{name}: 2 of 50 points') as error:
        points_of(path, **record)
    assert str(tmp_path) in str(error.value)


@pytest.mark.parametrize('name', ['a.npy', 'a.h5', 'a.ply', 'mesh.ply', 'a.off', 'a.glb', 'comma.txt'])
@pytest.mark.parametrize('share', [0., .3, .95])
def test_truncated_files(tmp_path, name, share):
    path = tmp_path / name
    if name in ('mesh.ply', 'a.off', 'a.glb'):
        import trimesh
        trimesh.creation.icosphere(subdivisions=2).export(path)
    else:
        write(path, fixtures.cloud('a', 500))
    content = path.read_bytes()
    cut = content[:int(share * len(content))]
    # A text file cut between two lines is a shorter, valid one.
    path.write_bytes(cut.rsplit(b',', 1)[0] if name == 'comma.txt' and share else cut)
    with pytest.raises(ValueError, match=f'{name} cannot be read') as error:
        points_of(path)
    assert str(path) in str(error.value) and 'truncated' in str(error.value)


def test_files_without_points(tmp_path):
    np.save(tmp_path / 'empty.npy', np.zeros((0, 3)))
    np.save(tmp_path / 'flat.npy', np.zeros((5, 2)))
    np.save(tmp_path / 'text.npy', np.array([['a', 'b', 'c']]))
    np.save(tmp_path / 'other.npy', dict(vertices=np.zeros((2, 3))), allow_pickle=True)
    (tmp_path / 'a.off').write_text('OFF\n0 0 0\n')
    (tmp_path / 'a.jpg').write_text('')
    with h5py.File(tmp_path / 'a.h5', 'w') as file:
        file['points'] = np.zeros((1, 5, 3))
    for name, words in (('empty.npy', 'has no points'), ('flat.npy', r'\(5, 2\)'), ('text.npy', 'must be numbers'),
                        ('other.npy', "no 'xyz', only vertices"), ('a.off', 'cannot be read'),
                        ('a.jpg', 'no known type'), ('a.h5', "no dataset 'data', only points")):
        with pytest.raises(ValueError, match=words) as error:
            points_of(tmp_path / name)
        assert name in str(error.value)
    with pytest.raises(FileNotFoundError, match='nowhere.ply'):
        points_of(tmp_path / 'nowhere.ply')
    np.testing.assert_array_equal(points_of(tmp_path / 'a.h5', points_key='points', points_index=0), np.zeros((5, 3)))
    with pytest.raises(ValueError, match='a.h5 cannot be read'):
        points_of(tmp_path / 'a.h5', points_key='points', points_index=7)


def test_choice_of_points_depends_on_the_object_alone(tmp_path):
    cloud = fixtures.cloud('a', 500)
    path = write(tmp_path / 'a.npy', cloud)
    first, again, other = (points_of(path, sample_id, 100) for sample_id in ('one', 'one', 'two'))
    np.testing.assert_array_equal(first, again)
    assert len(first) == len(np.unique(first, axis=0)) == 100 and not np.array_equal(first, other)
    assert {tuple(point) for point in first} <= {tuple(point) for point in cloud}
    np.testing.assert_array_equal(points_of(path, 'one', 1000), cloud)


def test_axes(tmp_path):
    path = write(tmp_path / 'a.npy', np.array([[1, 2, 3]], np.float32))
    np.testing.assert_array_equal(points_of(path, up_axis='z'), [[1, 2, 3]])
    np.testing.assert_array_equal(points_of(path, up_axis='y'), [[1, -3, 2]])
    overruled = LoadShapePoints(up_axis='z')(dict(points_path=str(path), up_axis='y'))
    np.testing.assert_array_equal(overruled['points'].numpy(), [[1, 2, 3]])
    with pytest.raises(ValueError, match="'x'"):
        points_of(path, up_axis='x')
    for options in (dict(up_axis='x'), dict(num_points=0)):
        with pytest.raises(ValueError, match=next(iter(options))):
            LoadShapePoints(**options)


def test_colors(tmp_path):
    import trimesh
    bytes_ = np.random.default_rng(0).integers(0, 256, (60, 3), dtype=np.uint8)
    for name, rgb in (('float', bytes_ / 255), ('bytes', bytes_), ('whole', bytes_.astype(np.float64))):
        np.save(tmp_path / f'{name}.npy', dict(xyz=fixtures.cloud('a'), rgb=rgb), allow_pickle=True)
        np.testing.assert_array_equal(read_shape(tmp_path / f'{name}.npy').colors, bytes_)
    trimesh.PointCloud(fixtures.cloud('a'), colors=bytes_).export(tmp_path / 'a.ply')
    np.testing.assert_array_equal(read_shape(tmp_path / 'a.ply').colors, bytes_)
    fewer = read_shape(tmp_path / 'a.ply', num_points=20)
    rows = [np.flatnonzero((read_shape(tmp_path / 'a.ply').points == point).all(1))[0] for point in fewer.points]
    np.testing.assert_array_equal(fewer.colors, bytes_[rows])
    mesh = trimesh.creation.box()
    mesh.visual.face_colors = [200, 10, 30, 255]
    mesh.export(tmp_path / 'mesh.ply')
    sampled = read_shape(tmp_path / 'mesh.ply', num_points=50)
    assert sampled.points.shape == (50, 3) and (sampled.colors == (200, 10, 30)).all()
    np.save(tmp_path / 'few.npy', dict(xyz=fixtures.cloud('a'), rgb=bytes_[:5]), allow_pickle=True)
    with pytest.raises(ValueError, match='60 points but colors of shape'):
        read_shape(tmp_path / 'few.npy')


def test_a_real_cloud(shared_dir, tmp_path):
    shape = read_shape(shared_dir / 'data/owl.ply')
    assert shape.points.shape == shape.colors.shape == (10_000, 3)
    assert np.abs(shape.points).max() == pytest.approx(.990723, abs=1e-6)
    assert len(np.unique(shape.colors, axis=0)) == 35
    cut = tmp_path / 'owl.ply'  # a text file
    cut.write_bytes((shared_dir / 'data/owl.ply').read_bytes()[:200_000])
    with pytest.raises(ValueError, match='owl.ply cannot be read'):
        read_shape(cut)


def test_parts_of_a_scene_keep_their_places(tmp_path):
    import trimesh
    scene = trimesh.Scene()
    scene.add_geometry(trimesh.creation.box((1, 1, 1)))
    scene.add_geometry(trimesh.creation.box((1, 1, 1)), transform=trimesh.transformations.translation_matrix((9, 0, 0)))
    scene.export(tmp_path / 'a.glb')
    points = read_shape(tmp_path / 'a.glb', num_points=2000).points
    assert points[:, 0].min() == pytest.approx(-.5, abs=.02) and points[:, 0].max() == pytest.approx(9.5, abs=.02)
    assert (points[:, 0] > 5).mean() == pytest.approx(.5, abs=.05)


class Harmful:

    def __reduce__(self):
        return print, ('this must not run',)


def test_npy_files_run_no_code(tmp_path, capsys):
    np.save(tmp_path / 'a.npy', dict(xyz=Harmful()), allow_pickle=True)
    with pytest.raises(pickle.UnpicklingError, match='builtins.print'):
        load_npy(tmp_path / 'a.npy')
    with pytest.raises(ValueError, match='a.npy cannot be read.*builtins.print'):
        points_of(tmp_path / 'a.npy')
    assert capsys.readouterr().out == ''
    values = dict(xyz=np.ones((2, 3)), nested=[dict(a=np.float32(2), b='text', c=None)], flag=np.bool_(True))
    np.save(tmp_path / 'b.npy', values, allow_pickle=True)
    loaded = load_npy(tmp_path / 'b.npy').item()
    assert loaded['nested'] == values['nested'] and loaded['flag']
    np.testing.assert_array_equal(loaded['xyz'], values['xyz'])


def test_entries_of_one_file(tmp_path):
    clouds = fixtures.write_openshape_modelnet40(tmp_path)
    path = tmp_path / 'meta_data/modelnet40/test_pc.npy'
    load = LoadShapePoints()
    np.testing.assert_array_equal(load(dict(points_path=str(path), points_index=2))['points'], clouds[2]['xyz'])
    with pytest.raises(ValueError, match='3 entries only, and entry 3'):
        load(dict(points_path=str(path), points_index=3))
    entries = np.load(path, allow_pickle=True)
    entries[1]['xyz'][4:6] = np.nan
    np.save(path, entries, allow_pickle=True)
    with pytest.raises(ValueError, match='test_pc.npy, entry 1: 2 of 60 points'):
        LoadShapePoints()(dict(points_path=str(path), points_index=1))
    path.write_bytes(path.read_bytes()[:-400])
    with pytest.raises(ValueError, match='test_pc.npy cannot be read'):
        LoadShapePoints()(dict(points_path=str(path), points_index=0))
    path.unlink()
    with pytest.raises(FileNotFoundError, match='test_pc.npy'):
        LoadShapePoints()(dict(points_path=str(path), points_index=0))


def test_depth_views_of_each_shape(tmp_path):
    gray = np.random.default_rng(0).integers(0, 256, (4, 8, 6), dtype=np.uint8)
    color = np.random.default_rng(1).integers(0, 256, (4, 8, 6, 3), dtype=np.uint8)
    for stored, expected in ((gray, gray), (gray[..., None], gray), (np.repeat(gray[..., None], 3, -1), gray),
                             (color, color.transpose(0, 3, 1, 2))):
        np.save(tmp_path / 'a.npy', stored)
        views = LoadDepthViews()(dict(depth_path=str(tmp_path / 'a.npy')))['depth_views']
        assert views.dtype == np.float32
        np.testing.assert_array_equal(views, expected.astype(np.float32) / 255)
        packed = PackShapeInputs()(dict(depth_views=views))
        assert packed['inputs']['depth_views'].shape == expected.shape


@pytest.mark.parametrize('stored, words', [
    (np.zeros((4, 8), np.uint8), r'\(4, 8\)'),
    (np.zeros((0, 8, 8), np.uint8), r'\(0, 8, 8\)'),
    (np.zeros((4, 3, 8, 8), np.uint8), r'\(4, 3, 8, 8\)'),
    (np.full((4, 8, 8), 200.), r'\[0, 1\] or \[0, 255\], got 200'),
    (np.full((4, 8, 8), np.nan), 'nan'),
    (np.zeros((4, 8, 8), np.int64), 'int64'),
])
def test_wrong_depth_views_are_named(tmp_path, stored, words):
    np.save(tmp_path / 'b_dm.npy', stored)
    with pytest.raises(ValueError, match=words) as error:
        LoadDepthViews()(dict(depth_path=str(tmp_path / 'b_dm.npy')))
    assert 'b_dm.npy' in str(error.value)


def test_broken_depth_maps_and_images(tmp_path):
    fixtures.write_released_training_set(tmp_path, names=['a'])
    depth, images = tmp_path / 'shapenet/depth_map/a_dm.npy', tmp_path / 'shapenet/depth_align_img/a'
    paths = [str(images / f'{view}.png') for view in range(10)]
    depth.write_bytes(depth.read_bytes()[:500])
    with pytest.raises(ValueError, match='a_dm.npy cannot be read.*truncated'):
        LoadDepthViews()(dict(depth_path=str(depth)))
    depth.unlink()
    with pytest.raises(FileNotFoundError, match='a_dm.npy does not exist'):
        LoadDepthViews()(dict(depth_path=str(depth)))
    content = (images / '3.png').read_bytes()
    for broken in (content[:len(content) // 2], b''):
        (images / '3.png').write_bytes(broken)
        with pytest.raises(ValueError, match='3.png cannot be read.*truncated'):
            LoadDepthAlignedImages()(dict(image_paths=paths))
    Image.new('RGB', (16, 32)).save(images / '3.png')
    with pytest.raises(ValueError, match='3.png has 16 x 32 pixels.*32 x 32'):
        LoadDepthAlignedImages()(dict(image_paths=paths))
    Image.new('RGB', (32, 32)).save(images / '3.png')
    with pytest.raises(ValueError, match='3.png has a single color'):
        LoadDepthAlignedImages()(dict(image_paths=paths))
    (images / '3.png').unlink()
    with pytest.raises(FileNotFoundError, match='3.png does not exist'):
        LoadDepthAlignedImages()(dict(image_paths=paths))


def test_images_of_other_modes_become_rgb(tmp_path):
    for view, (mode, color) in enumerate([('L', 7), ('RGBA', (1, 2, 3, 128))]):
        image = Image.new(mode, (4, 4), color)
        image.putpixel((3, 3), 0 if mode == 'L' else (0, 0, 0, 0))  # images of a single color are refused
        image.save(tmp_path / f'{view}.png')
    images = LoadDepthAlignedImages()(dict(image_paths=[str(tmp_path / f'{view}.png') for view in (0, 1)]))['images']
    assert images.shape == (2, 4, 4, 3) and images.dtype == np.uint8
    assert images[0, 0, 0].tolist() == [7, 7, 7] and images[1, 0, 0].tolist() == [1, 2, 3]
