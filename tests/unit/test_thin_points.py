"""The transform that leaves some objects few points."""
import numpy as np
import pytest
import torch
from mmdet3d.registry import TRANSFORMS

import opendlign_mm  # noqa: F401


def object_of(number, count=4000):
    rows = torch.arange(count, dtype=torch.float32)
    return dict(sample_id=f'object {number}', points=rows[:, None].repeat(1, 3), complete_points=rows[:, None],
                colors=np.arange(count)[:, None])


def thin(number, count=4000, **options):
    return TRANSFORMS.build(dict(type='ThinPoints', **options))(object_of(number, count))


def test_points_and_their_colors_are_chosen_together_and_the_whole_object_stays():
    results = thin(0, min_points=50, share=1.)
    kept = results['points'][:, 0].long()
    assert 50 <= len(kept) < 4000 and len(kept.unique()) == len(kept)
    np.testing.assert_array_equal(results['colors'][:, 0], kept)
    assert len(results['complete_points']) == 4000


def test_numbers_are_even_on_a_logarithmic_scale_for_the_share_of_objects():
    counts = np.array([len(thin(number, min_points=100, share=.5)['points']) for number in range(600)])
    thinned = counts[counts < 4000]
    assert .42 < len(thinned) / 600 < .58
    assert thinned.min() >= 100
    # The middle of 100 and 4,000 on this scale is their geometric mean.
    assert .4 < (thinned < np.sqrt(100 * 4000)).mean() < .6


def test_a_choice_depends_on_the_object_and_the_seed_alone():
    first, again, another, seed = (thin(number, share=1., seed=seed)['points']
                                   for number, seed in ((3, 0), (3, 0), (4, 0), (3, 1)))
    assert torch.equal(first, again)
    assert len({len(first), len(another), len(seed)}) == 3


@pytest.mark.parametrize('count', [1, 80, 100])
def test_objects_with_few_points_keep_them(count):
    assert torch.equal(thin(0, count, share=1.)['points'], object_of(0, count)['points'])


def test_points_without_colors():
    results = object_of(0)
    results['colors'] = None
    assert len(TRANSFORMS.build(dict(type='ThinPoints', share=1.))(results)['points']) < 4000


@pytest.mark.parametrize('options', [dict(min_points=0), dict(share=-.1), dict(share=1.1)])
def test_wrong_options(options):
    with pytest.raises(ValueError, match=r'min_points must be >= 1 and share in \[0, 1\]'):
        TRANSFORMS.build(dict(type='ThinPoints', **options))
