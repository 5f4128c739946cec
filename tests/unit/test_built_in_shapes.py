"""The built-in objects, their images and the dataset around them."""
import numpy as np
import pytest
import torch
from mmdet3d.registry import DATASETS, TRANSFORMS
from mmengine.registry import DefaultScope

import opendlign_mm  # noqa: F401
from opendlign_mm.datasets.procedural import CATEGORIES, sample_shape
from opendlign_mm.generation import ShadedTextureGenerator
from opendlign_mm.projection import ContourAwareProjection

PROJECTION = dict(resolution=32, depth_bins=16, view_angles=(30, 120), densify_kernel=3)


@pytest.fixture(autouse=True)
def mmdet3d_scope():
    """Transforms named in a dataset are looked up in mmdet3d's registry, as a Runner has it."""
    with DefaultScope.overwrite_default_scope('mmdet3d'):
        yield


def draw(category, seed=0, n=800, **kwargs):
    return sample_shape(category, np.random.default_rng(seed), n, **kwargs)


@pytest.mark.parametrize('scan_like', [False, True])
@pytest.mark.parametrize('category', CATEGORIES)
def test_every_category_in_meters_on_the_ground(category, scan_like):
    sizes = []
    for seed in range(4):
        shape = draw(category, seed, scan_like=scan_like)
        assert shape.points.shape == (800, 3) and shape.points.dtype == np.float32
        assert shape.colors.shape == (800, 3) and shape.colors.dtype == np.uint8
        assert np.isfinite(shape.points).all()
        low, high = shape.points.min(0), shape.points.max(0)
        assert abs(low[2]) < (.3 if scan_like else .02)
        if not scan_like:
            assert np.abs((low + high)[:2] / 2).max() < .02 * (high - low).max() + .005
        sizes.append(high - low)
    assert .05 < np.max(sizes) < 3
    assert np.std(sizes, axis=0).max() > .003, 'no two objects have the same proportions'


def test_same_seed_same_object_and_another_seed_another():
    assert np.array_equal(draw('sink', 3).points, draw('sink', 3).points)
    assert not np.array_equal(draw('sink', 3).points, draw('sink', 4).points)


def test_a_scan_lacks_one_side_of_the_same_object():
    complete, scan = draw('cabinet', 5, 4000), draw('cabinet', 5, 4000, scan_like=True)
    cells = [len(np.unique(np.floor(s.points / .05).astype(int), axis=0)) for s in (complete, scan)]
    assert cells[1] < .85 * cells[0]
    assert np.abs(complete.points.max(0) - scan.points.max(0)).max() < .25


@pytest.mark.parametrize('category, n, message', [('spaceship', 10, 'spaceship'), ('chair', 0, 'num_points')])
def test_sample_shape_refuses(category, n, message):
    with pytest.raises(ValueError, match=message):
        sample_shape(category, np.random.default_rng(0), n)


@pytest.fixture(scope='module')
def depth_views():
    return ContourAwareProjection(**PROJECTION)(torch.from_numpy(draw('chair').points)[None])[0]


def test_images_follow_the_depth_view(depth_views):
    images = ShadedTextureGenerator(clutter=0.)(depth_views, [1, 2]).float()
    assert images.shape == (2, 32, 32, 3)
    outside = (depth_views == 1)[:, :2]
    assert images[:, :2][outside].min() > 200, 'no clutter: light background'
    assert (images.std(-1)[depth_views < .9].mean() > images[:, 0].std(-1).mean()), 'the object has a color'


def test_an_image_depends_on_its_seed_alone(depth_views):
    generate = ShadedTextureGenerator()
    both = generate(depth_views, [7, 8])
    assert torch.equal(generate(depth_views[1:], [8])[0], both[1])
    assert not torch.equal(generate(depth_views[1:], [9])[0], both[1])


def test_clutter_covers_the_background(depth_views):
    plain, cluttered = (ShadedTextureGenerator(c)(depth_views.repeat(8, 1, 1), range(16)).float() for c in (0., 1.))
    assert cluttered[:, 0].std() > 4 * plain[:, 0].std()


@pytest.mark.parametrize('arguments, message', [
    ((torch.ones(2, 8, 9), [1, 2]), r'\(N, H, H\)'), ((torch.ones(2, 8, 8), [1]), r'one seed each \(got 1\)'),
    ((torch.ones(1, 8, 8), [1], np.zeros((2, 2, 3))), 'colors')])
def test_generator_refuses(arguments, message):
    with pytest.raises(ValueError, match=message):
        ShadedTextureGenerator()(*arguments)


def test_clutter_is_checked():
    with pytest.raises(ValueError, match='clutter'):
        ShadedTextureGenerator(clutter=1.5)


def build(pipeline=(dict(type='LoadBuiltInShape'), ), **kwargs):
    return DATASETS.build(
        dict(type='BuiltInShapes', num_per_category=2, num_points=300, pipeline=list(pipeline), **kwargs))


def test_splits_share_no_object_and_ids_are_unique():
    items = {split: build(split=split) for split in ('train', 'val', 'test')}
    clouds = [data[i]['points'] for data in items.values() for i in range(16)]
    assert all(not torch.equal(a, b) for i, a in enumerate(clouds) for b in clouds[:i])
    ids = [info['sample_id'] for data in items.values() for info in data]
    assert len(set(ids)) == len(ids) == 96


def test_labels_stay_when_categories_are_left_out():
    data = build(categories=('sink', 'door'))
    assert data.metainfo['classes'] == CATEGORIES
    assert {(data[i]['category'], data[i]['gt_label']) for i in range(len(data))} == {
        (name, CATEGORIES.index(name)) for name in ('sink', 'door')}


def test_scans_come_with_the_complete_surface():
    scans, clean = build(scan_like=1.), build()
    assert not torch.equal(scans[3]['points'], scans[3]['complete_points'])
    assert torch.equal(scans[3]['complete_points'], clean[3]['points'])
    half = build(scan_like=.5)
    assert 5 < sum(info['scan_like'] for info in (half.get_data_info(i) for i in range(32))) < 27


@pytest.mark.parametrize('kwargs, message', [
    (dict(split='dev'), 'split'), (dict(categories=('ship',)), 'ship'), (dict(scan_like=2.), 'scan_like')])
def test_data_set_refuses(kwargs, message):
    with pytest.raises(ValueError, match=message):
        build(**kwargs)


def pipeline(cache_dir):
    return [dict(type='DiskCache', cache_dir=cache_dir, keys=['depth_views', 'images'], transforms=[
        dict(type='LoadBuiltInShape'),
        dict(type='ProjectPointsToDepth', projection=PROJECTION),
        dict(type='GenerateImages', generator=dict(type='ShadedTextureGenerator'))])]


def test_disk_cache_gives_the_same_and_heals(tmp_path):
    data = build(pipeline(str(tmp_path)))
    first = data[0]
    files = sorted(tmp_path.rglob('*'))
    assert [f.suffix for f in files if f.is_file()] == ['.npz']
    again = data[0]
    uncached = build(pipeline(None))[0]
    for other in (again, uncached):
        assert np.array_equal(first['depth_views'], other['depth_views'])
        assert np.array_equal(first['images'], other['images'])
    assert first['depth_views'].dtype == np.float32 and first['images'].dtype == np.uint8
    broken = [f for f in files if f.is_file()][0]
    broken.write_bytes(broken.read_bytes()[:100])
    assert np.array_equal(data[0]['images'], first['images'])
    other_settings = pipeline(str(tmp_path))
    other_settings[0]['transforms'][1]['projection'] = {**PROJECTION, 'elevation': 60.}
    assert not np.array_equal(build(other_settings)[0]['depth_views'], first['depth_views'])


def test_generate_images_needs_depth_views():
    with pytest.raises(ValueError, match='ProjectPointsToDepth'):
        TRANSFORMS.build(dict(type='GenerateImages', generator=dict(type='ShadedTextureGenerator')))({'sample_id': 'a'})


def test_sample_views_keeps_pairs_in_order():
    views = np.arange(10, dtype=np.float32)[:, None, None] * np.ones((1, 4, 4), np.float32)
    seen = set()
    for _ in range(20):
        results = TRANSFORMS.build(dict(type='SampleViews', num_views=3))(
            dict(depth_views=views, images=views[..., None].repeat(3, -1)))
        kept = results['depth_views'][:, 0, 0]
        assert len(kept) == 3 and (np.diff(kept) > 0).all()
        assert np.array_equal(results['images'][:, 0, 0, 0], kept)
        seen.update(kept)
    assert len(seen) > 6
    with pytest.raises(ValueError, match='only 2'):
        TRANSFORMS.build(dict(type='SampleViews', num_views=3))(dict(depth_views=views[:2]))


@pytest.mark.parametrize('options, kept', [
    (dict(num_views=1), [0]), (dict(num_views=2), [0, 5]), (dict(num_views=4), [0, 2, 5, 7]),
    (dict(num_views=6), [0, 1, 3, 5, 6, 8]), (dict(num_views=10), list(range(10))), (dict(indices=(7, 0)), [7, 0])])
def test_selected_views_are_fixed_and_evenly_spaced(options, kept):
    views = np.arange(10, dtype=np.float32)[:, None, None] * np.ones((1, 4, 4), np.float32)
    results = TRANSFORMS.build(dict(type='SelectViews', **options))(
        dict(depth_views=views, images=views[..., None].repeat(3, -1), image_features=views[:, 0]))
    assert results['depth_views'][:, 0, 0].tolist() == kept
    assert results['images'][:, 0, 0, 0].tolist() == kept and results['image_features'][:, 0].tolist() == kept


@pytest.mark.parametrize('options, message', [
    ({}, 'either num_views or indices'), (dict(num_views=2, indices=[1]), 'either'), (dict(num_views=0), '>= 1'),
    (dict(indices=[1, 1]), 'different'), (dict(indices=[-1]), 'from 0'), (dict(indices=[]), 'different'),
    (dict(num_views=5), 'only 4'), (dict(indices=[4]), 'only 4')])
def test_views_that_cannot_be_selected_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        TRANSFORMS.build(dict(type='SelectViews', **options))(dict(depth_views=np.zeros((4, 2, 2))))


def test_a_cached_object_is_not_drawn_again(tmp_path, monkeypatch):
    data = build(pipeline(str(tmp_path)))
    first = data[0]

    def refuse(*_, **__):
        raise AssertionError('the object was drawn again')
    monkeypatch.setattr('opendlign_mm.datasets.transforms.loading.sample_shape', refuse)
    assert np.array_equal(data[0]['depth_views'], first['depth_views'])
