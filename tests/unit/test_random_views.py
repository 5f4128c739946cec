"""Depth views that train the demonstration CLIP: which objects, how often, and what is stored."""
import numpy as np
import pytest
import torch

from helpers.furniture_fixtures import write_library
from opendlign_mm.datasets import SweetHome3D
from opendlign_mm.datasets.procedural import CATEGORIES, categories_of, sample_shape
from opendlign_mm.datasets.random_views import RandomViews, repeated_records, store_views
from opendlign_mm.generation.drawn_views import as_images, augment, clutter_range, draw_images
from opendlign_mm.projection import ContourAwareProjection


@pytest.fixture(scope='module')
def models(tmp_path_factory):
    root = tmp_path_factory.mktemp('models')
    write_library(root / 'Tests.sh3f', [('Curtain', ''), ('Chair', ''), ('Chair', '')])
    return SweetHome3D(str(root), metainfo=dict(classes=categories_of(2)))


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


def test_each_record_is_there_at_least_once():
    records = [dict(gt_label=0)] * 5 + [dict(gt_label=1)]
    assert [record['gt_label'] for record in repeated_records(records, 4, 3)] == [0] * 5 + [1] * 3


@pytest.mark.parametrize('options', [dict(num_per_category=0), dict(scan_like=1.5), dict(copies=0)])
def test_numbers_outside_their_range_are_refused(options):
    with pytest.raises(ValueError, match='must be >= 1 and scan_like in'):
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


def test_images_are_mirrored_or_not_and_stay_in_range():
    torch.manual_seed(0)
    images = torch.zeros(40, 1, 16, 16)
    images[..., :8] = 1.
    left = augment(images)[..., :4].mean((1, 2, 3))
    assert 10 < (left > .9).sum() < 30 and 10 < (left < .1).sum() < 30


def test_backgrounds_become_cluttered_and_a_warm_run_has_no_plain_part():
    assert [clutter_range(epoch, 10) for epoch in (0, 2, 5, 9)] == [(0., .15), (0., .5), (.1, 1.), (.7, 1.)]
    assert [clutter_range(epoch, 10, warm=True) for epoch in (0, 9)] == [(0., 1.), (.7, 1.)]
