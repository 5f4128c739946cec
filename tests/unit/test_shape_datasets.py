"""Datasets in their published layouts: each object, its class and its points, exactly as they are in the files."""
import json
import shutil

import numpy as np
import pytest
import torch
from mmdet3d.registry import DATASETS, TRANSFORMS
from mmengine.registry import init_default_scope

import opendlign_mm  # noqa: F401
from helpers import shape_fixtures as fixtures
from opendlign_mm.datasets.shape_folder import ShapeFolder

LOAD = [dict(type='LoadShapePoints')]


def build(kind: str, root, **options):
    init_default_scope('mmdet3d')
    return DATASETS.build(dict(type=kind, data_root=str(root), **options))


def z_up(points) -> np.ndarray:
    """Return points with y up as points with z up: x stays, z becomes -y, y becomes z."""
    return np.stack([(x, -z, y) for x, y, z in np.asarray(points, np.float32)])


def classes_and_labels_agree(dataset) -> None:
    classes = dataset.metainfo['classes']
    records = [dataset.get_data_info(index) for index in range(len(dataset))]
    assert all(classes[record['gt_label']].replace('_', ' ') == record['category'].replace('_', ' ')
               for record in records)
    assert len({record['sample_id'] for record in records}) == len(records)


def test_modelnet40_resampled(tmp_path):
    found = fixtures.write_modelnet40_resampled(tmp_path / 'data')
    dataset = build('ModelNet40Resampled', tmp_path / 'data', pipeline=LOAD)
    assert dataset.metainfo['classes'] == fixtures.SHAPE_NAMES and len(dataset) == 4
    classes_and_labels_agree(dataset)
    for item in dataset:
        name = item['sample_id'].rpartition('/')[2]
        assert item['points'].dtype == torch.float32 and item['category'] == name[:-5]
        np.testing.assert_array_equal(item['points'].numpy(), z_up(found[name]))
    # The list has the classes backwards: labels are those of the names, not of the list.
    assert [dataset.get_data_info(index)['gt_label'] for index in range(4)] == [3, 2, 1, 0]
    train = build('ModelNet40Resampled', tmp_path / 'data', ann_file='modelnet40_train.txt')
    assert train.get_data_info(0)['sample_id'].endswith('/xbox_0001')


def test_modelnet40_h5(tmp_path):
    found = fixtures.write_modelnet40_h5(tmp_path / 'data')
    dataset = build('ModelNet40H5', tmp_path / 'data', pipeline=LOAD)
    classes_and_labels_agree(dataset)
    assert [item['category'] for item in dataset] == ['night_stand', 'airplane', 'xbox', 'bathtub']
    for item, (name, points) in zip(dataset, found.items()):
        assert item['sample_id'].endswith(name)
        np.testing.assert_array_equal(item['points'].numpy(), z_up(points))


def test_modelnet40_meshes(tmp_path):
    fixtures.write_modelnet40_meshes(tmp_path / 'data')
    dataset = build('ModelNet40Meshes', tmp_path / 'data', pipeline=LOAD)
    assert dataset.metainfo['classes'] == fixtures.SHAPE_NAMES and len(dataset) == 4
    classes_and_labels_agree(dataset)
    for item in dataset:
        points = item['points'].numpy()
        assert points.shape == (10_000, 3)
        np.testing.assert_allclose(points.min(0), 0, atol=.01)
        np.testing.assert_allclose(points.max(0), (1, 2, 4), atol=.01)  # z up: nothing is rotated
        on_surface = np.isclose(points, 0).any(1) | np.isclose(points, (1, 2, 4)).any(1)
        assert on_surface.all()
        # Evenly: the two faces of 2 x 4 have 16 of 28 parts of the area.
        assert (np.isclose(points[:, 0], 0) | np.isclose(points[:, 0], 1)).mean() == pytest.approx(16 / 28, abs=.02)
    assert 'train' in build('ModelNet40Meshes', tmp_path / 'data', split='train').get_data_info(0)['points_path']


def test_scanobjectnn(tmp_path):
    points = fixtures.write_scanobjectnn(tmp_path)
    dataset = build('ScanObjectNN', tmp_path, pipeline=LOAD)
    assert [item['category'] for item in dataset] == ['table', 'bag', 'toilet']
    assert len(dataset.metainfo['classes']) == 15
    classes_and_labels_agree(dataset)
    for item, expected in zip(dataset, points):
        np.testing.assert_array_equal(item['points'].numpy(), z_up(expected))
    names = [f'thing {index}' for index in range(15)]
    (tmp_path / 'scanobjectnn_shape_names.txt').write_text('\n'.join(names))
    assert build('ScanObjectNN', tmp_path).get_data_info(0)['category'] == 'thing 9'
    (tmp_path / 'scanobjectnn_shape_names.txt').write_text('\n'.join(names[:12]))
    with pytest.raises(ValueError, match='labels go from 0 to 14, but there are 12 class names'):
        build('ScanObjectNN', tmp_path)


def test_omniobject3d(tmp_path):
    found = fixtures.write_omniobject3d(tmp_path)
    dataset = build('OmniObject3D', tmp_path, pipeline=LOAD)
    assert dataset.metainfo['classes'] == ('anise', 'toy_animals')
    classes_and_labels_agree(dataset)
    assert [item['gt_label'] for item in dataset] == [0, 1, 1]
    for item in dataset:
        np.testing.assert_array_equal(item['points'].numpy(), found[item['sample_id'].split('/')[-1][:-4]])


def test_objaverse_lvis(tmp_path):
    found = fixtures.write_objaverse_lvis(tmp_path)
    dataset = build('ObjaverseLVIS', tmp_path, pipeline=LOAD)
    assert dataset.metainfo['classes'] == ('Band_Aid', 'apple', 'salmon_(fish)')
    classes_and_labels_agree(dataset)
    for item in dataset:
        data = found[item['sample_id'].split('/')[-1]]
        np.testing.assert_array_equal(item['points'].numpy(), z_up(data['xyz']))
        np.testing.assert_array_equal(item['colors'], np.rint(data['rgb'] * 255).astype(np.uint8))


@pytest.mark.parametrize('place', ['', 'objaverse-processed/merged_for_training_final'])
def test_objaverse_lvis_wherever_its_archives_were_unpacked(tmp_path, place):
    fixtures.write_objaverse_lvis(tmp_path)
    if place:
        (tmp_path / place).mkdir(parents=True)
        (tmp_path / 'Objaverse').rename(tmp_path / place / 'Objaverse')
    shutil.rmtree(tmp_path / place / 'Objaverse/000-032')  # a part only: the first objects are missing
    dataset = build('ObjaverseLVIS', tmp_path, on_unreadable='skip', pipeline=LOAD)
    assert [item['category'] for item in dataset] == ['apple'] and len(dataset.metainfo['classes']) == 3
    with pytest.raises(FileNotFoundError, match='2 of 3 objects have no file.*000-032.*on_unreadable=.skip'):
        build('ObjaverseLVIS', tmp_path)
    shutil.rmtree(tmp_path / place / 'Objaverse')
    with pytest.raises(FileNotFoundError, match='none of the 3 objects.*OpenShape'):
        build('ObjaverseLVIS', tmp_path)


def test_openshape_modelnet40(tmp_path):
    clouds = fixtures.write_openshape_modelnet40(tmp_path)
    dataset = build('OpenShapeModelNet40', tmp_path, pipeline=LOAD)
    assert dataset.metainfo['classes'] == ('airplane', 'night stand')
    classes_and_labels_agree(dataset)
    for item, expected in zip(dataset, clouds):
        np.testing.assert_array_equal(item['points'].numpy(), z_up(expected['xyz']))
        assert (item['colors'] == 100).all() and item['colors'].dtype == np.uint8


def test_shapenet55(tmp_path):
    found = fixtures.write_shapenet55(tmp_path)
    train = build('ShapeNet55', tmp_path, pipeline=LOAD)
    test = build('ShapeNet55', tmp_path, ann_file='test.txt', pipeline=LOAD)
    assert train.metainfo['classes'] == test.metainfo['classes'] == ('airplane', 'ashcan', 'chair')
    assert [item['category'] for item in train] == ['chair', 'airplane'] and test[0]['gt_label'] == 1
    for item in (*train, *test):
        np.testing.assert_array_equal(item['points'].numpy(), z_up(found[item['sample_id'].split('/')[-1]]))
    (tmp_path / 'ShapeNet-55').mkdir()
    for split in ('train', 'test'):
        (tmp_path / f'{split}.txt').rename(tmp_path / f'ShapeNet-55/{split}.txt')
    assert build('ShapeNet55', tmp_path, ann_file='ShapeNet-55/train.txt').metainfo == train.metainfo
    (tmp_path / 'ShapeNet-55/test.txt').write_text('99999999-abc.npy\n')
    with pytest.raises(ValueError, match='99999999'):
        build('ShapeNet55', tmp_path, ann_file='ShapeNet-55/train.txt')


@pytest.mark.parametrize('dtype', [np.uint8, np.float32, np.float64])
def test_released_depth_maps(tmp_path, dtype):
    found = fixtures.write_released_depth_maps(tmp_path, dtype=dtype)
    dataset = build('ReleasedDepthMaps', tmp_path, dataset='modelnet40', pipeline=[dict(type='LoadDepthViews')])
    assert dataset.metainfo['classes'] == ('airplane', 'night_stand')
    classes_and_labels_agree(dataset)
    for item, (name, stored) in zip(dataset, found.items()):
        assert item['sample_id'] == f'modelnet40/{name}' and item['depth_views'].dtype == np.float32
        expected = (stored / 255 if dtype == np.uint8 else stored)[..., 0].astype(np.float32)
        np.testing.assert_allclose(item['depth_views'], expected, atol=1e-7, rtol=0)


def test_released_labels_are_taken_where_they_are(tmp_path):
    fixtures.write_released_depth_maps(tmp_path, 'OmniObject3D', names=['a_1+toy_bus', 'b_1+anise'])
    labels = tmp_path / 'labels.json'
    labels.write_text(json.dumps(dict(modelnet40=['x'], OmniObject3D=['toy bus', 'zongzi', 'anise'])))
    dataset = build('ReleasedDepthMaps', tmp_path, dataset='OmniObject3D')
    assert dataset.metainfo['classes'] == ('toy bus', 'zongzi', 'anise')
    assert [(dataset.get_data_info(index)['category'], dataset.get_data_info(index)['gt_label'])
            for index in range(2)] == [('toy_bus', 0), ('anise', 2)]
    labels.write_text(json.dumps(dict(OmniObject3D=['zongzi', 'anise'])))
    with pytest.raises(ValueError, match='labels.json does not have.*toy bus'):
        build('ReleasedDepthMaps', tmp_path, dataset='OmniObject3D')
    labels.write_text('{"OmniObject3D": ["toy bus",')
    with pytest.raises(ValueError, match='labels.json is not JSON'):
        build('ReleasedDepthMaps', tmp_path, dataset='OmniObject3D')


def test_released_training_set(tmp_path):
    found = fixtures.write_released_training_set(tmp_path)
    pipeline = [dict(type='LoadDepthViews'), dict(type='LoadDepthAlignedImages'), dict(type='PackShapeInputs')]
    dataset = build('DepthAlignedShapes', tmp_path, pipeline=pipeline)
    assert len(dataset) == 3
    for item, (depth, images) in zip(dataset, found.values()):
        np.testing.assert_allclose(item['inputs']['depth_views'].numpy(), depth[..., 0] / 255, atol=1e-7)
        np.testing.assert_array_equal(item['inputs']['images'].permute(0, 2, 3, 1).numpy(), images)
    # The list of objects whose images were found good; its lines may be paths.
    (tmp_path / 'shapenet/keep.txt').write_text('some/where/control_dataset/3d1b9e8d\n1a04e3ea\n')
    kept = build('DepthAlignedShapes', tmp_path, ann_file='keep.txt')
    assert [kept.get_data_info(index)['sample_id'] for index in range(2)] == ['shapenet/1a04e3ea', 'shapenet/3d1b9e8d']
    (tmp_path / 'kept.json').write_text('["1a6f615e"]')  # or anywhere, as JSON
    assert build('DepthAlignedShapes', tmp_path, ann_file=str(tmp_path / 'kept.json')).get_data_info(0)[
        'sample_id'] == 'shapenet/1a6f615e'
    (tmp_path / 'kept.json').write_text('{"1a6f615e": true}')
    with pytest.raises(ValueError, match='kept.json must hold a JSON list'):
        build('DepthAlignedShapes', tmp_path, ann_file=str(tmp_path / 'kept.json'))
    shutil.rmtree(tmp_path / 'shapenet/depth_align_img/1a04e3ea')
    (tmp_path / 'shapenet/depth_map/1a6f615e_dm.npy').unlink()
    with pytest.raises(FileNotFoundError, match='2 of 3 objects lack a depth map or images: 1a04e3ea, 1a6f615e'):
        build('DepthAlignedShapes', tmp_path)
    assert len(build('DepthAlignedShapes', tmp_path, on_unreadable='skip')) == 1


def test_any_folder(tmp_path):
    """Each format, nested folders, hidden files, files of other kinds; the ids say which file."""
    import trimesh
    box = trimesh.creation.box((1, 2, 4))
    for name in ('cup/a.obj', 'cup/a.ply', 'cup/deep/down/b.off', 'mug/c.glb'):
        path = tmp_path / 'things' / name
        path.parent.mkdir(parents=True, exist_ok=True)
        box.export(path)
    np.save(tmp_path / 'things/mug/d.npy', fixtures.cloud('d'))
    for name in ('cup/readme.md', 'mug/.hidden.npy', '.git/x.npy'):
        (tmp_path / 'things' / name).parent.mkdir(exist_ok=True)
        (tmp_path / 'things' / name).write_text('no shape')
    dataset = build('ShapeFolder', tmp_path / 'things', pipeline=LOAD)
    assert dataset.metainfo['classes'] == ('cup', 'mug')
    assert [item['sample_id'] for item in dataset] == [
        'things/cup/a.obj', 'things/cup/a.ply', 'things/cup/deep/down/b.off', 'things/mug/c.glb', 'things/mug/d.npy']
    for item in dataset:
        extent = item['points'].numpy().max(0) - item['points'].numpy().min(0)
        if not item['sample_id'].endswith('npy'):
            # glTF is y up by its standard.
            expected = (1, 4, 2) if item['sample_id'].endswith('glb') else (1, 2, 4)
            np.testing.assert_allclose(extent, expected, atol=.01)


def test_classes_of_the_users_choice(tmp_path):
    fixtures.write_modelnet40_resampled(tmp_path / 'data')
    dataset = build('ModelNet40Resampled', tmp_path / 'data', metainfo=dict(classes=['xbox', 'night stand']))
    assert dataset.metainfo['classes'] == ('xbox', 'night stand')
    assert [(dataset.get_data_info(index)['category'], dataset.get_data_info(index)['gt_label'])
            for index in range(len(dataset))] == [('xbox', 0), ('night_stand', 1)]
    with pytest.raises(ValueError, match='no object belongs to one of the classes spaceship'):
        build('ModelNet40Resampled', tmp_path / 'data', metainfo=dict(classes=['spaceship']))


def test_options_of_mmengine(tmp_path):
    fixtures.write_modelnet40_resampled(tmp_path / 'data')
    lazy = build('ModelNet40Resampled', tmp_path / 'data', lazy_init=True)
    assert not lazy._fully_initialized
    lazy.full_init()
    assert len(lazy) == 4
    assert len(build('ModelNet40Resampled', tmp_path / 'data', indices=2)) == 2
    assert len(build('ModelNet40Resampled', tmp_path / 'data', serialize_data=False, test_mode=True)) == 4


@pytest.mark.parametrize('kind, options, words', [
    ('ModelNet40Resampled', {}, ['modelnet40_normal_resampled.zip', 'PointNet++']),
    ('ModelNet40H5', {}, ['modelnet40_ply_hdf5_2048.zip']),
    ('ModelNet40Meshes', {}, ['ModelNet40.zip']),
    ('ScanObjectNN', {}, ['h5_files.zip']),
    ('OmniObject3D', {}, ['<category>/<object>.ply']),
    ('ObjaverseLVIS', {}, ['OpenShape', 'Objaverse/*.tar.gz']),
    ('OpenShapeModelNet40', {}, ['meta_data.zip']),
    ('ShapeNet55', {}, ['ULIP']),
    ('ReleasedDepthMaps', dict(dataset='scanobjectnn'), ['authors', 'scanobjectnn/depth_map']),
    ('DepthAlignedShapes', {}, ['authors', 'depth_align_img', 'opendlign_h14_built_in']),
    ('ShapeFolder', {}, ['one sub-folder']),
])
def test_missing_data_is_named_with_its_source(tmp_path, monkeypatch, kind, options, words):
    """Also before anything is read: with lazy_init, and for a folder that is there but empty."""
    monkeypatch.chdir(tmp_path)
    for lazy in (False, True):
        with pytest.raises(FileNotFoundError) as error:
            build(kind, 'no/such/folder', lazy_init=lazy, **options)
        message = str(error.value)
        assert 'no/such/folder does not exist' in message and str(tmp_path) in message and 'data_root=DIR' in message
        assert all(word in message for word in words), message
    (tmp_path / 'empty').mkdir()
    with pytest.raises((FileNotFoundError, ValueError), match='empty') as error:
        build(kind, 'empty', **options)
    assert all(word in str(error.value) for word in words)


def test_empty_folders_and_classes(tmp_path):
    for name in ('full', 'bare', 'only_text'):
        (tmp_path / name).mkdir()
    np.save(tmp_path / 'full/a.npy', fixtures.cloud('a'))
    (tmp_path / 'only_text/readme.md').write_text('')
    with pytest.raises(ValueError, match='no file.*bare.*only_text'):
        build('ShapeFolder', tmp_path)
    fixtures.write_released_depth_maps(tmp_path, names=[])
    with pytest.raises(ValueError, match='no objects'):
        build('ReleasedDepthMaps', tmp_path, dataset='modelnet40')
    np.save(tmp_path / 'modelnet40/depth_map/airplane_dm.npy', np.zeros(1))
    with pytest.raises(ValueError, match='airplane_dm.npy is not named'):
        build('ReleasedDepthMaps', tmp_path, dataset='modelnet40')
    fixtures.write_released_training_set(tmp_path, names=['a'])
    (tmp_path / 'shapenet/depth_map/a_dm.npy').unlink()
    with pytest.raises(ValueError, match='none of the 1 objects'):
        build('DepthAlignedShapes', tmp_path)


def test_broken_lists(tmp_path):
    fixtures.write_modelnet40_h5(tmp_path / 'h5')
    path = tmp_path / 'h5/ply_data_test0.h5'
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(ValueError, match='ply_data_test0.h5 cannot be read'):
        build('ModelNet40H5', tmp_path / 'h5')
    path.unlink()
    with pytest.raises(FileNotFoundError, match='ply_data_test0.h5 does not exist'):
        build('ModelNet40H5', tmp_path / 'h5')
    fixtures.write_objaverse_lvis(tmp_path / 'lvis')
    split = tmp_path / 'lvis/meta_data/split/lvis.json'
    split.write_text(split.read_text()[:100])
    with pytest.raises(ValueError, match='lvis.json is not JSON'):
        build('ObjaverseLVIS', tmp_path / 'lvis')
    fixtures.write_modelnet40_resampled(tmp_path / 'txt')
    (tmp_path / 'txt/modelnet40_shape_names.txt').write_text('airplane\nbathtub\n')
    with pytest.raises(ValueError, match='night_stand, xbox'):
        build('ModelNet40Resampled', tmp_path / 'txt')


def test_the_whole_pipeline(tmp_path):
    fixtures.write_scanobjectnn(tmp_path)
    pipeline = [dict(type='LoadShapePoints', num_points=500),
                dict(type='ProjectPointsToDepth', projection=dict(resolution=32, depth_bins=8, view_angles=(30, 120))),
                dict(type='PackShapeInputs')]
    item = build('ScanObjectNN', tmp_path, pipeline=pipeline)[0]
    views = item['inputs']['depth_views']
    assert views.shape == (2, 32, 32) and views.min() < .5 < views.max()
    # The clouds are longest along y, which is up: the object is tall in each view.
    rows, columns = (views < 1).any(dim=2).sum(dim=1), (views < 1).any(dim=1).sum(dim=1)
    assert (rows > 1.4 * columns).all()
    assert item['data_samples'].gt_label.tolist() == [9]


@pytest.mark.parametrize('kind, write, name', [
    ('ModelNet40Resampled', fixtures.write_modelnet40_resampled, 'night_stand/night_stand_0627.txt'),
    ('ShapeNet55', fixtures.write_shapenet55, 'shapenet_pc/02691156-1a04e3eab45ca15dd86060f189eb133.npy')])
def test_listed_files_that_are_missing(tmp_path, kind, write, name):
    write(tmp_path / 'data')
    complete = build(kind, tmp_path / 'data')
    (tmp_path / 'data' / name).unlink()
    with pytest.raises(FileNotFoundError, match=f'1 of {len(complete)} objects have no file.*{name}'):
        build(kind, tmp_path / 'data')
    rest = build(kind, tmp_path / 'data', on_unreadable='skip')
    assert len(rest) == len(complete) - 1 and rest.metainfo == complete.metainfo


def test_unreadable_objects_are_replaced_in_training_only(tmp_path):
    fixtures.write_released_training_set(tmp_path, names=[f'm{index:03d}' for index in range(150)], size=2)
    images = tmp_path / 'shapenet/depth_align_img'
    (images / 'm003/4.png').write_bytes(b'')
    pipeline = [dict(type='LoadDepthViews'), dict(type='LoadDepthAlignedImages')]
    with pytest.raises(ValueError, match='m003/4.png'):
        build('DepthAlignedShapes', tmp_path, pipeline=pipeline)[3]
    with pytest.raises(ValueError, match='m003/4.png'):
        build('DepthAlignedShapes', tmp_path, pipeline=pipeline, on_unreadable='skip', test_mode=True)[3]
    training = build('DepthAlignedShapes', tmp_path, pipeline=pipeline, on_unreadable='skip')
    assert training[3]['sample_id'] != 'shapenet/m003' and training[4]['sample_id'] == 'shapenet/m004'
    for index in (20, 21):
        (images / f'm{index:03d}/0.png').unlink()
    with pytest.raises(ValueError, match='of 150 samples cannot be read.*m02[01]/0.png'):
        for index in (3, 20, 21):
            training[index]


@pytest.mark.parametrize('highest, low, fits', [(1., 0., True), (255., 0., True), (1., -.2, False), (300., 0., False),
                                                (np.nan, 0., False)])
def test_float_depth_maps_in_either_range(tmp_path, highest, low, fits):
    stored = np.full((2, 8, 8, 3), highest, np.float32)
    stored[:, 2:5] = .25 * highest
    stored[:, 3] = low
    np.save(tmp_path / 'a_dm.npy', stored)
    load = TRANSFORMS.build(dict(type='LoadDepthViews'))
    if not fits:
        with pytest.raises(ValueError, match='a_dm.npy'):
            load(dict(depth_path=tmp_path / 'a_dm.npy'))
        return
    views = load(dict(depth_path=tmp_path / 'a_dm.npy'))['depth_views']
    assert views.max() == 1 and views.min() == 0 and views[0, 2, 0] == pytest.approx(.25)


def test_a_folder_of_any_layout_gives_all_its_files_and_the_folders_as_classes(tmp_path):
    root = tmp_path / 'shapes'
    for name in ('cup.xyz', 'chairs/a/one.xyz', 'chairs/two.ply', '.hidden/three.xyz', 'textures/wood.png'):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text('0 0 0\n')
    dataset = ShapeFolder(str(root), any_layout=True, pipeline=[])
    records = [dataset.get_data_info(index) for index in range(len(dataset))]
    assert [(record['category'], record['sample_id']) for record in records] == [
        ('chairs', 'shapes/chairs/a/one.xyz'), ('chairs', 'shapes/chairs/two.ply'), ('shapes', 'shapes/cup.xyz')]
    assert dataset.metainfo['classes'] == ('chairs', 'shapes')
    with pytest.raises(ValueError, match='textures has no file of a shape'):
        ShapeFolder(str(root / 'textures'), any_layout=True, pipeline=[])
