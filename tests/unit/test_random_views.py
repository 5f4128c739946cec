"""Depth views that train the demonstration CLIP: which objects, how often, and what is stored."""
import numpy as np
import pytest
import torch

from helpers.furniture_fixtures import write_library
from opendlign_mm.datasets import SweetHome3D
from opendlign_mm.datasets.deformation import deformed
from opendlign_mm.datasets.procedural import CATEGORIES, categories_of, sample_shape
from opendlign_mm.datasets.random_views import (
    RandomViews,
    StoredViews,
    copies_of,
    read_models,
    store_models,
    store_views,
)
from opendlign_mm.generation.drawn_views import as_images, augment, clutter_range, draw_batch, draw_images
from opendlign_mm.projection import ContourAwareProjection


@pytest.fixture(scope='module')
def models(tmp_path_factory):
    root = tmp_path_factory.mktemp('models')
    write_library(root / 'Tests.sh3f', [('Curtain', ''), ('Chair', ''), ('Chair', '')])
    return store_models(SweetHome3D(str(root), metainfo=dict(classes=categories_of(2))), root / 'models.npz')


def test_points_of_models_are_upright_and_read_as_they_were_stored(models, tmp_path_factory):
    stored = read_models(next(tmp_path_factory.getbasetemp().glob('models*/models.npz')))
    for one, other in zip(models, stored, strict=True):
        np.testing.assert_array_equal(one, other)
    # Boxes of 40 x 30 x 80 cm (width, depth, height), the longest side 1.
    np.testing.assert_allclose(np.ptp(models.points.astype(float), axis=1), [[.5, .375, 1]] * 3, atol=.01)
    assert models.points.shape == models.colors.shape == (3, 20_000, 3)
    assert models.labels.tolist() == [categories_of(2).index('curtain'), 0, 0]


def test_a_deformed_object_is_about_as_large_and_upright_and_another_each_time():
    cube = np.random.default_rng(0).uniform(-1, 1, (2000, 3)) * (.5, .02, 1.) + (7, 8, 9)
    first, second = (deformed(cube, np.random.default_rng(seed)) for seed in (1, 2))
    assert np.abs(first - second).max() > .02 and first.dtype == np.float32
    for shape in (first, second):
        assert np.abs(shape.mean(0)).max() < .1 and 1.5 < np.ptp(shape[:, 2]) < 2.7
        # What was up is up, what was on the right is on the right, and a plate stays thin.
        assert (np.corrcoef(cube.T, shape.T)[[0, 2], [3, 5]] > .95).all() and np.ptp(shape[:, 1]) < .5


def test_procedural_objects_are_deformed_only_where_it_is_asked_for():
    plain, same, other = (RandomViews(1, 2, seed=3, resolution=32, **options)[2].depth
                          for options in ({}, dict(deformed=1e-9), dict(deformed=1.)))
    assert np.array_equal(plain, same) and not np.array_equal(plain, other)


def test_standard_views_are_the_method_s_ten():
    views = RandomViews(1, 1, seed=7, standard=True, resolution=32)
    depth, label, colors = views[3]
    shape = sample_shape('bed', np.random.default_rng((7, 3)), 5000)
    projection = ContourAwareProjection(resolution=32, depth_bins=32, densify_kernel=5, sigma_space=1.,
                                        view_angles=range(30, 330, 30), elevation=20.)
    expected = projection(torch.from_numpy(shape.points)[None])[0].numpy()
    np.testing.assert_allclose(depth / 255, expected, atol=.5 / 255 + 1e-6)
    assert label == CATEGORIES.index('bed') and len(views) == 16
    assert all((shape.colors == color).all(1).any() for color in colors)


def test_models_follow_the_procedural_objects_with_their_labels(models):
    views = RandomViews(1, 2, seed=0, resolution=32, edition=2, models=models, copies=3, most_per_category=4)
    # Two chairs with at most four copies in all have two each, the curtain three.
    labels = [views[index].label for index in range(22, len(views))]
    assert labels == [categories_of(2).index('curtain')] * 3 + [0] * 4
    first, second, again = views[22], views[23], views[22]
    assert first.depth.shape == (2, 32, 32) and first.depth.dtype == np.uint8
    assert not np.array_equal(first.depth, second.depth) and np.array_equal(first.depth, again.depth)
    assert {tuple(color) for color in np.concatenate([first.colors, second.colors])} <= {(255, 0, 0), (0, 0, 255)}


def test_scans_of_models_show_less_of_them(models):
    def solid(scan_like):
        views = RandomViews(1, 10, seed=0, standard=True, resolution=32, edition=2, models=models, copies=4,
                            scan_like=scan_like)
        return np.mean([views[index].depth < 255 for index in range(22, 30)])

    assert .3 * solid(0.) < solid(1.) < .98 * solid(0.)


def test_each_model_is_there_at_least_once():
    assert copies_of([0] * 5 + [1], 4, 3) == [0, 1, 2, 3, 4, 5, 5, 5]


@pytest.mark.parametrize('options', [
    dict(num_per_category=0), dict(scan_like=1.5), dict(copies=0), dict(deformed=-.1)])
def test_numbers_outside_their_range_are_refused(options):
    with pytest.raises(ValueError, match='must be >= 1|must lie in'):
        RandomViews(**{**dict(num_per_category=1, num_views=1, seed=0), **options})


class Few(RandomViews):
    def __len__(self):
        return 3


def test_views_are_stored_once(tmp_path):
    views = Few(1, 2, seed=0, resolution=32)
    made = store_views(views, tmp_path / 'views.npz', 0)
    read = store_views(None, tmp_path / 'views.npz', 0)
    for one, other in zip(made, read, strict=True):
        np.testing.assert_array_equal(one, other)
    assert made.depth.shape == (3, 2, 32, 32) and made.labels.tolist() == [0, 1, 2]
    images = draw_images(made, (0., 1.), 5, 'images')
    np.testing.assert_array_equal(images, draw_images(read, (0., 1.), 5, 'images'))
    assert images.shape == (3, 2, 3, 32, 32) and not np.array_equal(images, draw_images(made, (0., 1.), 6, 'images'))
    assert (as_images(made.depth) == made.depth[:, :, None]).all()


def test_images_of_a_batch_are_those_of_the_same_distribution():
    depth = torch.full((256, 16, 16), 255, dtype=torch.uint8)
    depth[:, 4:12, 4:12] = 100
    colors = torch.randint(256, (256, 2, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    made = [draw_batch(depth, colors, (0., 1.), torch.Generator().manual_seed(seed)) for seed in (0, 0, 1)]
    assert torch.equal(made[0], made[1]) and not torch.equal(made[0], made[2])
    assert made[0].dtype == torch.float32 and 0 <= made[0].min() and made[0].max() <= 1
    objects = StoredViews(depth.numpy()[:, None], np.zeros(256, np.int64), colors.numpy()[:, None].reshape(256, 2, 3))
    one_by_one = np.concatenate([draw_images(objects, (0., 1.), seed, 'images') for seed in range(12)])[:, 0] / 255
    batch = torch.cat([draw_batch(depth, colors, (0., 1.), torch.Generator().manual_seed(seed))
                       for seed in range(12)]).numpy()
    for measure in (np.mean, np.std):
        # Of the object, and of the background.
        for part in (np.s_[..., 5:11, 5:11], np.s_[..., :3]):
            # Over other seeds the mean background deviates most, by 0.016.
            assert abs(measure(batch[part]) - measure(one_by_one[part])) < .04


def test_images_are_mirrored_or_not_and_stay_in_range():
    torch.manual_seed(0)
    images = torch.zeros(40, 1, 16, 16)
    images[..., :8] = 1.
    left = augment(images)[..., :4].mean((1, 2, 3))
    assert 10 < (left > .9).sum() < 30 and 10 < (left < .1).sum() < 30


def test_backgrounds_become_cluttered_and_a_warm_run_has_no_plain_part():
    assert [clutter_range(epoch, 10) for epoch in (0, 2, 5, 9)] == [(0., .15), (0., .5), (.1, 1.), (.7, 1.)]
    assert [clutter_range(epoch, 10, warm=True) for epoch in (0, 9)] == [(0., 1.), (.7, 1.)]
