"""Transforms of points for the point encoders: axes, augmentation, packing."""
import numpy as np
import pytest
import torch

from opendlign_mm.datasets.transforms import ArrangePoints, AugmentPoints, PackPointInputs
from opendlign_mm.models import PointDataPreprocessor


def test_layouts_of_one_file():
    file = np.array([[1., 2, 3], [-4, 5, -6], [0, -1, 2]], np.float32)  # y up
    z_up = torch.from_numpy(np.stack([file[:, 0], -file[:, 2], file[:, 1]], axis=1))
    expected = dict(z_up=z_up.numpy(), y_up=file, z_up_mirrored=file[:, [0, 2, 1]])
    for layout, points in expected.items():
        arranged = ArrangePoints(layout, normalize=False)(dict(points=z_up))['points']
        np.testing.assert_array_equal(arranged.numpy(), points)
        sign = np.linalg.det(np.linalg.lstsq(file, points, rcond=None)[0])
        assert sign == pytest.approx(-1 if layout == 'z_up_mirrored' else 1)
    unit = ArrangePoints('z_up')(dict(points=z_up))['points']
    centered = z_up.numpy() - z_up.numpy().mean(0)
    np.testing.assert_allclose(unit.numpy(), centered / np.linalg.norm(centered, axis=1).max(), atol=1e-6)
    assert not ArrangePoints('z_up')(dict(points=torch.ones(4, 3)))['points'].any()  # a single place has no radius
    with pytest.raises(ValueError, match="layout must be one of .*got 'x_up'"):
        ArrangePoints('x_up')


def test_augmentation_keeps_its_bounds():
    points = torch.randn(500, 3, generator=torch.Generator().manual_seed(0))
    np.random.seed(0)
    dropped, sizes, tilts, gray = [], [], [], []
    for _ in range(200):
        colors = np.zeros((500, 3), np.uint8)
        result = AugmentPoints('y', shift=0., color_dropout=.5)(dict(points=points, colors=colors))
        moved = result['points']
        dropped.append(float((moved == moved[0]).all(dim=1).float().mean()))
        sizes.append(float(moved[0].norm() / points[0].norm()))
        kept = (moved != moved[0]).any(dim=1)
        turn = np.linalg.lstsq(points[kept].numpy(), moved[kept].numpy(), rcond=None)[0].T / sizes[-1]
        np.testing.assert_allclose(turn @ turn.T, np.eye(3), atol=1e-4)
        assert np.linalg.det(turn) == pytest.approx(1, abs=1e-4)
        tilts.append(np.degrees(np.arccos(np.clip(turn[1, 1], -1, 1))))  # of the upward axis
        gray.append(int(result['colors'][0, 0]))
    assert .8 < max(dropped) <= .92 and min(dropped) < .1
    assert .8 <= min(sizes) < .85 and 1.2 < max(sizes) <= 1.25001
    assert 5 < max(tilts) <= np.degrees(.18) * 3**.5
    assert set(gray) == {0, 102} and .35 < np.mean(np.array(gray) == 102) < .65
    same = AugmentPoints(dropout=0., scale=(1., 1.), shift=0., tilt=0., rotate=False)(dict(points=points))
    torch.testing.assert_close(same['points'], points)
    shifted = AugmentPoints(dropout=0., scale=(1., 1.), shift=.1, tilt=0., rotate=False)(dict(points=points))['points']
    assert 0 < (shifted - points).abs().max() <= .1 and (shifted - points).std(dim=0).max() < 1e-6


def test_packing():
    points, colors = torch.rand(50, 3), np.arange(150, dtype=np.uint8).reshape(50, 3)
    results = dict(points=points, colors=colors, sample_id='a', category='cup', gt_label=2, text='a cup',
                   images=np.zeros((5, 8, 8, 3), np.uint8), text_features=None,
                   image_features=np.ones((5, 6), np.float32))
    packed = PackPointInputs(num_points=20, num_images=2)(results)
    inputs, sample = packed['inputs'], packed['data_samples']
    assert inputs['points'].shape == (20, 3) and inputs['images'].shape == (2, 3, 8, 8)
    assert inputs['image_features'].shape == (2, 6)
    assert not inputs['has_text'] and inputs['text_features'].shape == (6, )
    assert (sample.text, sample.category, int(sample.gt_label)) == ('a cup', 'cup', 2)
    rows = [int((points == point).all(dim=1).nonzero()) for point in inputs['points']]
    assert len(set(rows)) == 20 and np.array_equal(inputs['colors'].numpy(), colors[rows])
    assert torch.equal(PackPointInputs(num_points=20)(results)['inputs']['points'], inputs['points'])
    more = PackPointInputs(num_points=80)(dict(points=points, sample_id='b'))['inputs']
    assert more['points'].shape == (80, 3) and (more['colors'] == 102).all()
    assert 'colors' not in PackPointInputs(use_colors=False)(dict(points=points))['inputs']
    gray = PackPointInputs(images='depth_views', text='a {} of clay')(dict(
        points=points, category='night_stand', depth_views=np.full((3, 4, 4), .4, np.float32)))
    assert gray['inputs']['images'].shape == (3, 3, 4, 4) and (gray['inputs']['images'] == 102).all()
    assert gray['data_samples'].text == 'a night stand of clay'
    with pytest.raises(ValueError, match="c: 'points' must be a tensor"):
        PackPointInputs()(dict(sample_id='c'))
    with pytest.raises(ValueError, match="a: 'colors' must be uint8"):
        PackPointInputs()(dict(results, colors=colors[:3]))


def test_clouds_of_several_sizes_stay_a_list():
    samples = [PackPointInputs()(dict(points=torch.rand(count, 3)))['inputs'] for count in (4, 6)]
    batch = PointDataPreprocessor()(dict(inputs=samples))['inputs']
    assert [len(points) for points in batch['points']] == [4, 6]
    assert batch['colors'][1].dtype == torch.float32 and float(batch['colors'][1].max()) == pytest.approx(.4)
    equal = PointDataPreprocessor()(dict(inputs=[samples[0]] * 2))['inputs']
    assert equal['points'].shape == (2, 4, 3) and equal['colors'].shape == (2, 4, 3)
