"""The second edition of the built-in objects, and that the first one stays what published numbers rest on."""
import numpy as np
import pytest
import torch
from mmdet3d.registry import DATASETS
from mmengine.registry import DefaultScope

import opendlign_mm  # noqa: F401
from opendlign_mm.datasets.procedural import CATEGORIES, categories_of, sample_shape
from opendlign_mm.datasets.procedural.assembly import Assembly
from opendlign_mm.datasets.procedural.catalog import EDITIONS, surface_of_shape
from opendlign_mm.datasets.procedural.scan_simulation import seen_from_one_side
from opendlign_mm.datasets.procedural.soft_parts import cloth, plate, pleats, soft_box, taper

# Sums of the coordinates and colors of 50 points of an object, and of the coordinates of a scan, as version 0.1.0 made
# them.
RELEASED = dict(
    chair=(21.8852, 9425, 20.2416),
    table=(7.9787, 24085, 31.3272),
    desk=(28.0540, 32075, 31.9723),
    bed=(17.5284, 23359, -20.0740),
    sofa=(14.8316, 19220, 24.9447),
    bookshelf=(41.4179, 28360, 57.3152),
    cabinet=(40.9582, 25132, 42.0935),
    door=(42.3959, 26821, 53.7360),
    window=(15.1887, 33591, 29.7256),
    bathtub=(13.2454, 35500, 27.1803),
    toilet=(16.7840, 35013, 26.1366),
    sink=(28.3714, 34479, 36.3458),
    lamp=(10.8631, 28800, 56.6339),
    bottle=(3.7209, 23682, 11.0448),
    cup=(1.3017, 8150, 4.0241),
    monitor=(14.9724, 22321, 27.3441))
NEW = ('picture', 'counter', 'curtain', 'refrigerator', 'shower curtain', 'garbage bin')


@pytest.mark.parametrize('category', RELEASED)
def test_objects_of_the_first_edition_stay_as_released(category):
    shape, scan = (sample_shape(category, np.random.default_rng(seed), 50, scan_like=seed == 4) for seed in (3, 4))
    sums = shape.points.astype(float).sum(), int(shape.colors.sum()), scan.points.astype(float).sum()
    assert sums == pytest.approx(RELEASED[category], abs=2e-3)


def test_the_second_edition_has_scannet_s_classes_and_those_of_the_first():
    assert categories_of(1) == CATEGORIES and categories_of(2) == (*CATEGORIES, *NEW) and EDITIONS == (1, 2)


@pytest.mark.parametrize('category', categories_of(2))
def test_every_category_of_the_second_edition_stands_on_the_floor_in_meters(category):
    sizes = []
    for seed in range(8):
        points = sample_shape(category, np.random.default_rng(seed), 600, edition=2).points
        low, high = points.min(0), points.max(0)
        assert np.isfinite(points).all() and low[2] == 0 and np.abs((low + high)[:2]).max() < 1e-4
        sizes.append(high - low)
    assert .05 < np.max(sizes) < 4.5
    assert np.std(sizes, axis=0).min() > .002, 'proportions do not vary'


def test_the_second_edition_has_other_styles():
    """Chairs of the first edition are at most 1.2 m high and .75 m deep; armchairs and loungers are deeper."""
    depths = [np.ptp(sample_shape('chair', np.random.default_rng(seed), 400, edition=2).points[:, 1])
              for seed in range(24)]
    assert min(depths) < .65 and max(depths) > .9


def test_unknown_editions_and_categories_are_refused():
    with pytest.raises(ValueError, match='edition must be one of'):
        sample_shape('chair', np.random.default_rng(0), 10, edition=3)
    with pytest.raises(ValueError, match="unknown category 'curtain'.*edition=2 has it"):
        sample_shape('curtain', np.random.default_rng(0), 10)


def test_the_dataset_has_labels_and_ids_of_its_edition():
    with DefaultScope.overwrite_default_scope('mmdet3d'):
        first, second = (DATASETS.build(dict(
            type='BuiltInShapes', num_per_category=1, num_points=100, edition=edition, scan_like=.5,
            pipeline=[dict(type='LoadBuiltInShape')])) for edition in (1, 2))
        assert 'edition' not in first.get_data_info(0)  # as the entries of caches were made
        assert second.metainfo['classes'] == categories_of(2)
        item = second[18]
        assert item['category'] == 'curtain' and item['gt_label'] == 18
        key = second.get_data_info(18)['shape_seed']
        expected = sample_shape('curtain', np.random.default_rng(key), 100, edition=2)
        assert torch.equal(item['complete_points'], torch.from_numpy(expected.points))
        assert not {first.get_data_info(k)['sample_id'] for k in range(16)} & {
            second.get_data_info(k)['sample_id'] for k in range(22)}
        with pytest.raises(ValueError, match='metainfo.classes must be the 22 categories of edition 2'):
            DATASETS.build(dict(type='BuiltInShapes', edition=2, metainfo=dict(classes=('chair', ))))


@pytest.mark.parametrize('edition', EDITIONS)
def test_the_surface_of_an_object_is_the_one_its_points_are_on(edition):
    points = sample_shape('sofa', np.random.default_rng(1), 3000, edition=edition).points
    corners = surface_of_shape('sofa', np.random.default_rng(1), 3000, edition)[0].reshape(-1, 3)
    np.testing.assert_allclose([corners.min(0), corners.max(0)], [points.min(0), points.max(0)], atol=.05)


def points_of(add):
    assembly = Assembly()
    add(assembly)
    return assembly.sample(4000, np.random.default_rng(0))[0]


def test_parts_have_the_extents_they_are_given():
    for softness in (.1, .5, 1.):
        box = points_of(lambda a, s=softness: soft_box(a, (1, 2, .5), (0, 1, 2), (9, 9, 9), s))
        np.testing.assert_allclose([box.min(0), box.max(0)], [(-.5, 0, 1.75), (.5, 2, 2.25)], atol=.02)
    # The ellipsoid of softness 1 fills pi / 6 of its box, a box all of it: corners are far only in the latter.
    corner = [np.abs(points_of(lambda a, s=s: soft_box(a, (2, 2, 2), (0, 0, 0), (9, 9, 9), s))).min(1).max()
              for s in (.05, 1.)]
    assert corner[0] > .85 and corner[1] == pytest.approx(3**-.5, abs=.05)
    disk = points_of(lambda a: plate(a, np.array([(0, 0), (1, 0), (1, 1), (0, 1)]), -.1, .1, (9, 9, 9), True, 3.))
    np.testing.assert_allclose([disk.min(0), disk.max(0)], [(0, 2.9, 0), (1, 3.1, 1)], atol=.01)
    body = points_of(lambda a: taper(a, (1, 1), (2, 4), 0, 1, (9, 9, 9)))
    assert np.abs(body[body[:, 2] < .01, 0]).max() == pytest.approx(.5, abs=.02)
    assert np.abs(body[body[:, 2] > .99, 1]).max() == pytest.approx(2, abs=.05)


def test_cloth_follows_its_path_and_is_narrow_where_it_is_tied():
    path = pleats((-1, 0), (1, 0), 3, .1)
    np.testing.assert_allclose(path[:, 1], .1 * np.sin(3 * np.pi * (path[:, 0] + 1)), atol=1e-9)
    hung = points_of(lambda a: cloth(a, path, 0, 2, (9, 9, 9), gather=.5))
    widths = [np.ptp(hung[np.abs(hung[:, 2] - z) < .1, 0]) for z in (.8, 1.95)]
    assert widths[0] == pytest.approx(1, abs=.1) and widths[1] > 1.9


def test_one_camera_sees_two_sides_of_a_closed_box_at_most():
    assembly = Assembly()
    assembly.box((1, 1, 1), (0, 0, .5), (9, 9, 9))
    dense = assembly.sample(20000, np.random.default_rng(0))[0]
    for seed in range(6):
        chosen, points = seen_from_one_side(dense, 500, np.random.default_rng(seed))
        assert points.shape == (500, 3) and np.abs(points - dense[chosen]).max() < .08
        *sides, bottom = [(np.abs(dense[chosen][:, axis] - value) < .002).mean() for axis, value in (
            (0, -.5), (0, .5), (1, -.5), (1, .5), (2, 0))]
        # A share of 1/6 each, without hidden surfaces; the depth buffer lets a rim pass.
        assert sorted(sides)[1] < .06 and bottom < .06
