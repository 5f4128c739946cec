"""CAD models of Sweet Home 3D's libraries: their classes, sizes, axes and colors, and what is refused."""
import numpy as np
import pytest
import torch
from mmdet3d.registry import DATASETS, TRANSFORMS
from mmengine.registry import init_default_scope

import opendlign_mm.datasets  # noqa: F401
from helpers.furniture_fixtures import write_library
from opendlign_mm.datasets.sweet_home3d import FURNITURE_CLASSES, class_of_name
from opendlign_mm.point_files.furniture_library import read_catalog
from opendlign_mm.point_files.shape_files import read_shape

# File z becomes y, which is up.
STAND_UP = 'modelRotation=1 0 0 0 0 1 0 -1 0'
LOAD = [dict(type='LoadShapePoints', num_points=4000)]


def build(root, **options):
    init_default_scope('mmdet3d')
    return DATASETS.build(dict(type='SweetHome3D', data_root=str(root), **options))


def test_points_have_the_size_of_the_catalog_and_stand_on_the_floor(tmp_path):
    write_library(tmp_path / 'Tests.sh3f', [('Chair', '')])
    item = build(tmp_path, pipeline=LOAD)[0]
    points, colors = item['points'].numpy(), item['colors']
    np.testing.assert_allclose(points.min(0), [-.2, -.15, 0], atol=.01)
    np.testing.assert_allclose(points.max(0), [.2, .15, .8], atol=.01)
    # The side of the file toward +z is in front: toward -y once z is up.
    red = colors[:, 0] == 255
    np.testing.assert_allclose(points[red, 1], -.15, atol=1e-6)
    assert (colors[~red] == (0, 0, 255)).all()
    # .4 x .8 of a surface of 2 (.4 x .3 + .4 x .8 + .3 x .8) square meters.
    assert red.mean() == pytest.approx(.32 / 1.36, abs=.03)


def test_the_rotation_of_the_catalog_comes_before_its_size(tmp_path):
    write_library(tmp_path / 'Tests.sh3f', [('Chair', STAND_UP)])
    item = build(tmp_path, pipeline=LOAD)[0]
    points = item['points'].numpy()
    np.testing.assert_allclose(np.ptp(points, axis=0), [.4, .3, .8], atol=.01)
    np.testing.assert_allclose(points[item['colors'][:, 0] == 255, 2], .8, atol=1e-6)


def test_copies_of_a_model_are_deformed_differently_and_the_same_in_each_run(tmp_path):
    write_library(tmp_path / 'Tests.sh3f', [('Chair', ''), ('Table', '')])
    pipeline = [*LOAD, dict(type='VaryShape', num_points=1500)]
    dataset = build(tmp_path, copies=3, pipeline=pipeline)
    assert len({dataset.get_data_info(index)['sample_id'] for index in range(6)}) == len(dataset) == 6
    sizes = np.stack([np.ptp(dataset[index]['points'].numpy(), axis=0) for index in range(3)])
    assert (np.diff(np.sort(sizes, axis=0), axis=0) > .003).all() and (sizes[:, 2] > sizes[:, :2].max(1)).all()
    assert torch.equal(dataset[1]['points'], build(tmp_path, copies=3, pipeline=pipeline)[1]['points'])
    assert dataset[0]['colors'].shape == (1500, 3)
    with pytest.raises(ValueError, match='copies must be >= 1'):
        build(tmp_path, copies=0)


def test_scans_of_varied_models_keep_the_whole_object_beside_them(tmp_path):
    write_library(tmp_path / 'Tests.sh3f', [('Chair', '')])
    item = build(tmp_path, pipeline=[*LOAD, dict(type='VaryShape', num_points=1500, scan_like=1.)])[0]
    seen, whole = item['points'], item['complete_points']
    assert seen.shape == whole.shape == (1500, 3) and seen.dtype == whole.dtype == torch.float32
    # A camera outside a box sees three of its six sides at most.
    near = (torch.cdist(whole, seen).min(1).values < .15).float().mean()
    assert .2 < near < .8
    # Each point has its own color: red ones are in front, toward -y.
    red = item['colors'][:, 0] == 255
    assert not red.any() or seen[red, 1].mean() < seen[~red, 1].mean()
    for options in (dict(num_points=0), dict(scan_like=2.)):
        with pytest.raises(ValueError, match='num_points must be >= 1 and scan_like in'):
            TRANSFORMS.build(dict(type='VaryShape', **options))


def test_textures_are_upright(tmp_path):
    write_library(tmp_path / 'Tests.sh3f', [('Picture', '')])
    shape = read_shape(tmp_path / 'Tests.sh3f', 2000, index=1)
    upper_left = (shape.points[:, 0] < 0) & (shape.points[:, 1] > .4)
    np.testing.assert_array_equal(shape.colors, np.where(upper_left[:, None], (0, 255, 0), (0, 0, 255)))
    assert np.ptp(shape.points[:, 2]) == 0  # a flat model stays flat


@pytest.mark.parametrize('name, category', [
    ('Deck chair', 'chair'), ('Armchair', 'chair'), ('Bar stool', None), ('Wheelchair', None), ('Glass table', 'table'),
    ('Bedside table', None), ('Table tennis', None), ('Desk lamp', 'lamp'), ('Ceiling lamp', None),
    ("Captain's bed", 'bed'),
    ('Glass door cabinet', 'cabinet'), ('Television cabinet', None), ('Double door', 'door'), ('Shower door', None),
    ('Double French window', None), ('Window blind', None), ('Corner bathtub', 'bathtub'), ('Bathmat', None),
    ('Island bath', 'bathtub'), ('Island', 'counter'), ('Washbasin', 'sink'), ('Sink cabinet', None),
    ('Toilets unit', 'toilet'), ('Toilet brush', None), ('Shower curtain', 'shower curtain'), ('Curtain', 'curtain'),
    ('Residential trashcan', 'garbage bin'), ('Bullet trash can', 'garbage bin'), ('Large fridge', 'refrigerator'),
    ('Frame Chambord', 'picture'), ('TV 16:9', 'monitor'), ('TV remote control', None), ('Cup cake', None),
    ('Coffee mug', 'cup'), ('Full bookcase', 'bookshelf'), ('Corner sofa', 'sofa'), ('Wooden desk', 'desk')])
def test_the_class_follows_from_the_name(name, category):
    assert class_of_name(name) == category


def test_models_without_a_class_are_left_out_and_classes_can_be_chosen(tmp_path):
    write_library(tmp_path / 'One.sh3f', [('Bar stool', ''), ('Cup', ''), ('Curtain', '')])
    write_library(tmp_path / 'Two.sh3f', [('Chair', '')])
    dataset = build(tmp_path)
    assert dataset.metainfo['classes'] == FURNITURE_CLASSES and len(FURNITURE_CLASSES) == 22
    assert [dataset.get_data_info(k)['sample_id'] for k in range(len(dataset))] == [
        'One/002-box2', 'One/003-box3', 'Two/001-box1']
    chosen = build(tmp_path, libraries='One', metainfo=dict(classes=('chair', 'cup')))
    assert [chosen.get_data_info(k)['gt_label'] for k in range(len(chosen))] == [1]


def test_the_catalog_is_read_as_java_writes_it(tmp_path):
    write_library(tmp_path / 'Tests.sh3f', [(r'Frame H\u00f4i \\An', ''), ('Caf\xe9 \\\r\n    table', '')])
    assert [furniture.name for furniture in read_catalog(tmp_path / 'Tests.sh3f')] == ['Frame Hôi \\An', 'Café table']


def test_a_missing_library_is_named_with_the_package(tmp_path):
    with pytest.raises(FileNotFoundError, match='sweethome3d-furniture'):
        build(tmp_path)
    write_library(tmp_path / 'One.sh3f', [('Chair', '')])
    with pytest.raises(FileNotFoundError, match=r'has no Two \(.sh3f\), only One'):
        build(tmp_path, libraries=['One', 'Two'])
    with pytest.raises(ValueError, match='libraries must be names'):
        build(tmp_path, libraries=[])


@pytest.mark.parametrize('entry, words', [
    (('Chair', 'width='), ['Tests.sh3f', 'entry 1', 'width']), (('Chair', 'modelRotation=1 0 0'), ['entry 1']),
    (('Chair', 'height=0'), ['no valid width, depth, height']), (('Chair', 'depth=wide'), ['entry 1', 'depth']),
     (('Chair', 'model=/tests/none.obj'), ['none.obj']),
    (('Chair', 'model=/tests/box.mtl.obj'), ['box.mtl.obj'])])
def test_a_wrong_catalog_is_one_error_with_the_library_and_the_entry(tmp_path, entry, words):
    write_library(tmp_path / 'Tests.sh3f', [entry])
    with pytest.raises(ValueError) as error:
        read_shape(tmp_path / 'Tests.sh3f', 100, index=1)
    assert all(word in str(error.value) for word in words), error.value


def test_damaged_libraries_and_unknown_numbers_are_refused(tmp_path):
    path = tmp_path / 'Tests.sh3f'
    write_library(path, [('Chair', '')])
    for number in (2, None):
        with pytest.raises(ValueError, match=f'points_index is {number}'):
            read_shape(path, index=number)
    path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(ValueError, match='Tests.sh3f cannot be read'):
        build(tmp_path)
