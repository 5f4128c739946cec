"""Point operations against literal loops, on random, tied and duplicate points."""
import numpy as np
import pytest
import torch

from opendlign_mm.point_ops import (
    ball_query,
    furthest_point_sample,
    furthest_points,
    gather_points,
    group_points,
    interpolate_features,
    three_nn,
)
from opendlign_mm.point_ops.ball_query import query_by_torch
from opendlign_mm.point_ops.furthest_points import NEAR_ORIGIN, sample_by_torch, sample_on_gpu


def clouds():
    rng = np.random.default_rng(0)
    grid = np.stack(np.meshgrid(*[np.arange(6)] * 3), axis=-1).reshape(-1, 3) * .25 - .5
    return dict(
        random=rng.uniform(-1, 1, (500, 3)),
        ties=rng.permutation(grid),  # a lattice: many equal distances, and points at exactly the radius
        duplicates=rng.uniform(-1, 1, (40, 3))[rng.integers(0, 40, 300)],
        flat=rng.uniform(-1, 1, (300, 3)) * [1, 1, 0],
        near_origin=rng.normal(0, .05, (200, 3)),
        one=np.array([[.3, .2, .1]]))


CLOUDS = {name: torch.from_numpy(points).float() for name, points in clouds().items()}


def furthest_by_loop(xyz, num_samples, skip):
    points = xyz.numpy()
    distance = [np.float32(np.inf)] * len(points)
    chosen = [0]
    while len(chosen) < num_samples:
        best, best_index = np.float32(-1), 0
        for index, point in enumerate(points):
            if skip and point[0]**2 + point[1]**2 + point[2]**2 <= NEAR_ORIGIN:
                continue
            d = point - points[chosen[-1]]
            distance[index] = min(distance[index], d[0] * d[0] + d[1] * d[1] + d[2] * d[2])
            if distance[index] > best:
                best, best_index = distance[index], index
        chosen.append(best_index)
    return torch.tensor(chosen)


def check_furthest(xyz, chosen, skip):
    """Check that each sample is as far from those before it as any point, but for rounding."""
    usable = (xyz**2).sum(dim=1) > NEAR_ORIGIN if skip else torch.ones(len(xyz), dtype=torch.bool)
    distances = torch.cdist(xyz.double(), xyz.double())
    assert chosen[0] == 0 and usable[chosen[1:]].all()
    for number in range(1, len(chosen)):
        nearest = distances[:, chosen[:number]].amin(dim=1).where(usable, -1)
        if nearest.max() > 0:  # otherwise points repeat
            assert nearest[chosen[number]] >= nearest.max() - 1e-6


def ball_by_loop(xyz, centers, radius, num_samples):
    result = []
    for center in centers.numpy():
        found = []
        for index, point in enumerate(xyz.numpy()):
            d = center - point
            if d[0] * d[0] + d[1] * d[1] + d[2] * d[2] < np.float32(radius) * np.float32(radius):
                found.append(index)
        found = found[:num_samples] or [0]
        result.append(found + found[:1] * (num_samples - len(found)))
    return torch.tensor(result)


@pytest.mark.parametrize('skip', [False, True])
@pytest.mark.parametrize('name', CLOUDS)
def test_furthest_points(name, skip, device, monkeypatch):
    xyz = CLOUDS[name]
    expected = furthest_by_loop(xyz, 60, skip)
    chosen = furthest_point_sample(xyz[None].to(device), 60, skip)[0].cpu()
    if device.type == 'cuda':  # mmcv's kernel takes any of several furthest points
        check_furthest(xyz, chosen, skip)
    else:
        check_furthest(xyz, expected, skip)
        assert torch.equal(chosen, expected)
        monkeypatch.setattr(furthest_points, 'mmcv_has_cuda', lambda: False)
        skipped = (xyz**2).sum(dim=1)[None] <= NEAR_ORIGIN if skip else None
        assert torch.equal(sample_on_gpu(xyz[None], 60, skipped)[0], expected)


@pytest.mark.parametrize('first_is_near', [False, True])
def test_points_near_the_origin_are_skipped_in_the_sets_that_have_some(first_is_near, monkeypatch):
    """Sets without, with a few and with only such points, by the ways of CPU and GPU, until points repeat."""
    xyz = torch.rand(4, 50, 3, generator=torch.Generator().manual_seed(2)) + .1
    xyz[1, [7, 20, 49]] *= .01
    xyz[2, 5:] *= .01
    xyz[3, 1:] *= .01
    if first_is_near:
        xyz[:, 0] *= .01
    skipped = (xyz**2).sum(dim=2) <= NEAR_ORIGIN
    assert skipped.sum(dim=1).tolist() == [first_is_near + count for count in (0, 3, 45, 49)]
    expected = torch.stack([furthest_by_loop(points, 60, True) for points in xyz])
    monkeypatch.setattr(furthest_points, 'mmcv_has_cuda', lambda: False)
    assert torch.equal(sample_on_gpu(xyz, 60, skipped), expected)
    assert torch.equal(furthest_point_sample(xyz, 60, skip_near_origin=True), expected)


def test_one_kernel_samples_a_batch_with_points_near_the_origin(monkeypatch):
    """No loop in Python over samples: mmcv's kernel is called once, with all sets."""
    ops = pytest.importorskip('mmcv.ops')
    calls = []

    def kernel(xyz, num_samples):
        calls.append(xyz.shape)
        return sample_by_torch(xyz, num_samples).int()

    monkeypatch.setattr(furthest_points, 'mmcv_has_cuda', lambda: True)
    monkeypatch.setattr(ops, 'furthest_point_sample', kernel)
    xyz = CLOUDS['near_origin'][None].repeat(3, 1, 1)
    chosen = sample_on_gpu(xyz, 60, (xyz**2).sum(dim=2) <= NEAR_ORIGIN)
    assert calls == [xyz.shape] and chosen.dtype == torch.int64
    assert torch.equal(chosen[2], furthest_by_loop(xyz[2], 60, True))


@pytest.mark.parametrize('radius, num_samples', [(.25, 8), (.5, 64), (9., 400)])
@pytest.mark.parametrize('name', CLOUDS)
def test_ball_query(name, radius, num_samples, device):
    xyz = CLOUDS[name]
    centers = torch.cat([xyz[::7], torch.tensor([[50., 0, 0], [-1e9, 1e9, 0]]), xyz[:3] + .1])
    expected = ball_by_loop(xyz, centers, radius, num_samples)
    assert torch.equal(ball_query(xyz[None].to(device), centers[None].to(device), radius, num_samples)[0].cpu(),
                       expected)
    assert torch.equal(query_by_torch(xyz[None], centers[None], radius, num_samples)[0], expected)


def test_large_sets_and_batches():
    """Several blocks and cells; the sets of a batch do not mix."""
    xyz = torch.rand(2, 3000, 3, generator=torch.Generator().manual_seed(0)) * 4
    indices = furthest_point_sample(xyz, 700)
    assert torch.equal(indices, sample_by_torch(xyz, 700))
    assert not torch.equal(indices[0], indices[1]) and all(len(row.unique()) == 700 for row in indices)
    centers = gather_points(xyz, indices)
    assert torch.equal(ball_query(xyz, centers, .3, 16), query_by_torch(xyz, centers, .3, 16))


def test_grouping_takes_rows_and_passes_gradients():
    values = torch.arange(24.).reshape(2, 4, 3).requires_grad_()
    indices = torch.tensor([[[0, 0], [3, 1]], [[2, 2], [2, 0]]])
    groups = group_points(values, indices)
    assert groups.shape == (2, 2, 2, 3)
    for b, m, s in np.ndindex(2, 2, 2):
        assert torch.equal(groups[b, m, s], values[b, indices[b, m, s]])
    groups.sum().backward()
    assert values.grad[0, :, 0].tolist() == [2, 1, 0, 1] and values.grad[1, :, 0].tolist() == [1, 0, 3, 0]


@pytest.mark.parametrize('name', CLOUDS)
def test_three_nn(name, device):
    sources = CLOUDS[name]
    targets = torch.rand(50, 3, generator=torch.Generator().manual_seed(1))
    distances, indices = three_nn(targets[None].to(device), sources[None].to(device))
    for target, row, places in zip(targets.numpy(), distances[0].cpu(), indices[0].cpu()):
        d = [float(sum((np.float32(x) * np.float32(x)) for x in target - source)) for source in sources.numpy()]
        order = sorted(range(len(d)), key=lambda i: (d[i], i))[:3]
        order += order[-1:] * (3 - len(order))
        assert places.tolist() == order
        torch.testing.assert_close(row.double(), torch.tensor([d[i] for i in order]).double().sqrt(), atol=1e-6, rtol=0)


def test_interpolation_is_exact_at_sources():
    sources, features = CLOUDS['random'][None], torch.rand(1, 500, 5)
    torch.testing.assert_close(interpolate_features(sources, sources, features), features, atol=1e-4, rtol=0)
    middle = interpolate_features(torch.tensor([[[1., 0, 0]]]), torch.tensor([[[0., 0, 0], [2, 0, 0], [1, 1, 0]]]),
                                  torch.tensor([[[1.], [2.], [6.]]]))
    assert middle.item() == pytest.approx(3., abs=1e-5)


@pytest.mark.parametrize('xyz, error, message', [
    (torch.zeros(1, 0, 3), ValueError, 'no points'),
    (torch.zeros(5, 3), ValueError, r'shape \(B, N, 3\)'),
    (torch.tensor([[[0., 0, 0], [0, torch.nan, 1], [0, 0, torch.inf]]]), ValueError, '2 of 3 points with NaN or inf'),
    (torch.zeros(1, 5, 3, dtype=torch.long), TypeError, 'floating point')])
def test_bad_input_is_named(xyz, error, message):
    with pytest.raises(error, match=message):
        furthest_point_sample(xyz, 2)
    with pytest.raises(error, match=message):
        ball_query(xyz, torch.zeros(1, 2, 3), .1, 2)
    with pytest.raises(error, match=message):
        three_nn(torch.zeros(1, 2, 3), xyz)
    with pytest.raises(ValueError, match='num_samples'):
        furthest_point_sample(torch.zeros(1, 5, 3), 0)
