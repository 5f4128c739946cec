"""IoU and generalized IoU against numbers by hand, polygons of shapely, and finite differences."""
import math

import pytest
import torch
from mmdet3d.structures import DepthInstance3DBoxes
from shapely import affinity
from shapely.geometry import box as rectangle

from opendlign_mm.box_ops.iou import box_overlaps, enclosing_bounds, generalized_iou, rectangle_overlap


def random_boxes(count, seed, rotated=True):
    generator = torch.Generator().manual_seed(seed)
    boxes = torch.rand(count, 7, generator=generator, dtype=torch.float64)
    boxes[:, 3:6] = .3 + boxes[:, 3:6] * 1.5
    boxes[:, 6] = (boxes[:, 6] - .5) * 4 * math.pi if rotated else 0
    return boxes


def polygon(row):
    x, y, length, width, yaw = row.tolist()
    shape = rectangle(x - length / 2, y - width / 2, x + length / 2, y + width / 2)
    return affinity.rotate(shape, yaw, use_radians=True)


def test_overlap_is_that_of_shapely():
    first, second = random_boxes(300, 0)[:, [0, 1, 3, 4, 6]], random_boxes(300, 1)[:, [0, 1, 3, 4, 6]]
    second[:50, :2] += 3  # some do not touch
    areas = [polygon(a).intersection(polygon(b)).area for a, b in zip(first, second)]
    expected = torch.tensor(areas, dtype=torch.float64)
    assert (expected == 0).any() and (expected > 0).sum() > 200
    torch.testing.assert_close(rectangle_overlap(first, second), expected, atol=1e-9, rtol=0)
    pairs = rectangle_overlap(first[:, None], second[None, :20])
    torch.testing.assert_close(pairs.diagonal(), rectangle_overlap(first, second)[:20])


@pytest.mark.parametrize('yaw', [0., .3, math.pi / 2, math.pi, -2.])
@pytest.mark.parametrize('dtype', [torch.float32, torch.float64])
def test_shared_edges(yaw, dtype):
    """Equal, contained and touching rectangles, where rounding decides what counts as inside."""
    large = torch.tensor([1., 2., 2., 1., yaw], dtype=dtype)
    cos, sin = math.cos(yaw), math.sin(yaw)
    half = torch.tensor([1 + .5 * cos, 2 + .5 * sin, 1., 1., yaw], dtype=dtype)  # shares three edges
    adjacent = torch.tensor([1 + 2 * cos, 2 + 2 * sin, 2., 1., yaw], dtype=dtype)  # shares one edge, no area
    rotated = torch.tensor([1., 2., 1., 2., yaw + math.pi / 2], dtype=dtype)  # the same rectangle
    for other, area in ((large, 2.), (half, 1.), (adjacent, 0.), (rotated, 2.)):
        assert rectangle_overlap(large, other).item() == pytest.approx(area, abs=2e-6)
        assert rectangle_overlap(other, large).item() == pytest.approx(area, abs=2e-6)


def mmdet3d_boxes(*rows):
    return DepthInstance3DBoxes(torch.tensor(rows, dtype=torch.float32).reshape(-1, 7))


def test_overlaps_of_axis_aligned_boxes_by_hand():
    """The z of mmdet3d's boxes is their bottom."""
    box = mmdet3d_boxes([0, 0, 0, 2, 4, 3, 0])
    others = mmdet3d_boxes(
        [0, 0, 0, 2, 4, 3, 0],  # the same
        [1, 0, 0, 2, 4, 3, 0],  # half along x: 12 of 36
        [0, 3, 0, 2, 4, 3, 0],  # a quarter along y: 6 of 42
        [0, 0, 2, 2, 4, 3, 0],  # a third along z: 8 of 40
        [0.5, 1, 1, 1, 1, 1, 0],  # contained: 1 of 24
        [2, 0, 0, 2, 4, 3, 0],  # shares a face
        [5, 1, 0, 2, 4, 3, 0])  # apart along x alone
    expected = torch.tensor([[1, 1 / 3, 1 / 7, 1 / 5, 1 / 24, 0, 0]])
    torch.testing.assert_close(box_overlaps(box, others), expected)
    torch.testing.assert_close(box_overlaps(others, box), expected.T)
    flat = mmdet3d_boxes([0, 0, 0, 0, 0, 0, 0])
    assert box_overlaps(flat, flat).tolist() == [[0]]


@pytest.mark.parametrize('swap', [False, True])
def test_overlaps_where_only_some_boxes_are_rotated(swap):
    """Unit cubes, rotated by 45 degrees an octagon of area 2 sqrt(2) - 2 is shared."""
    straight, rotated = [0, 0, 0, 1, 1, 1, 0], [0, 0, 0, 1, 1, 1, math.pi / 4]
    octagon = 2 * math.sqrt(2) - 2
    expected = torch.tensor([[1, octagon / (2 - octagon)]])
    one, two = mmdet3d_boxes(straight), mmdet3d_boxes(straight, rotated)
    overlaps = box_overlaps(two, one).T if swap else box_overlaps(one, two)
    torch.testing.assert_close(overlaps, expected, atol=1e-5, rtol=0)


def test_overlaps_of_no_boxes():
    none, two = mmdet3d_boxes(), mmdet3d_boxes(*[[0, 0, 0, 1, 1, 1, 0]] * 2)
    for first, second in ((none, two), (two, none), (none, none)):
        assert box_overlaps(first, second).shape == (len(first), len(second))
    assert box_overlaps(two[:1], two).tolist() == [[1, 1]] and box_overlaps(two, two[:1]).tolist() == [[1], [1]]
    one_rotated = mmdet3d_boxes([0, 0, 0, 1, 1, 1, .5])
    assert box_overlaps(none, one_rotated).shape == (0, 1) and box_overlaps(one_rotated, none).shape == (1, 0)


def test_generalized_iou_by_hand():
    """Boxes that meet along two axes, along one, or along none, and boxes of different sizes and heights."""
    box = torch.tensor([[0., 0, 0, 2, 2, 2, 0]])
    others = torch.tensor([
        [1., 1, 1, 2, 2, 2, 0], [0., 0, 3, 2, 2, 2, 0], [3., 0, 0, 2, 2, 2, 0], [0., 3, 0, 2, 2, 2, 0],
        [3., 3, 3, 2, 2, 2, 0], [0., 0, 0, 1, 1, 1, 0], [1.5, 0, .5, 3, 1, 2, 0]])
    shared, union, enclosing = torch.tensor([
        [1., 15, 27], [0., 16, 20], [0., 16, 20], [0., 16, 20], [0., 16, 125], [1., 8, 8], [1.5, 12.5, 20]]).T
    expected = shared / union - (enclosing - union) / enclosing
    for rotated in (False, True):
        torch.testing.assert_close(generalized_iou(box, others, rotated), expected, atol=1e-5, rtol=0)
        torch.testing.assert_close(generalized_iou(others, box, rotated), expected, atol=1e-5, rtol=0)
    # A cube rotated by 90 degrees is the same; a long box rotated by 90 degrees is not.
    long, across = torch.tensor([0., 0, 0, 3, 1, 1, 0]), torch.tensor([0., 0, 0, 3, 1, 1, math.pi / 2])
    assert generalized_iou(long, across).item() == pytest.approx(1 / 5 - 4 / 9, abs=1e-5)


def test_boxes_of_tiny_and_of_no_volume():
    """Boxes a micrometer thin still count, those of no volume give 0, alone or in a pair."""
    plate = torch.tensor([0., 0, 0, 1, 1, 1e-6, 0])
    assert generalized_iou(plate, plate).item() == pytest.approx(1)
    for rotated in (False, True):
        flat = torch.tensor([0., 0, 0, 1, 1, 0, 0])
        assert generalized_iou(flat, flat, rotated).item() == 0
        assert generalized_iou(flat, torch.tensor([0., 0, 0, 1, 1, 1, 0]), rotated).item() == pytest.approx(0, abs=1e-6)


def test_rotated_and_axis_aligned_agree_and_match_a_formula(device):
    first, second = random_boxes(40, 2, False).to(device), random_boxes(30, 3, False).to(device)
    aligned = generalized_iou(first[:, None], second[None], rotated=False)
    torch.testing.assert_close(generalized_iou(first[:, None], second[None]), aligned)
    unit = torch.tensor([[0., 0, 0, 1, 1, 1, 0]], device=device)
    for shift, expected in ((0., 1.), (.5, 1 / 3), (1., 0.), (3., 2 / 4 - 1)):
        moved = unit + torch.tensor([shift, 0, 0, 0, 0, 0, 0], device=device)
        assert generalized_iou(unit, moved).item() == pytest.approx(expected, abs=1e-6)
    quarter = unit.clone()
    quarter[:, 6] = math.pi / 4  # an octagon is shared; the enclosing box is the larger square
    octagon, enclosing = 2 * math.sqrt(2) - 2, 2.
    union = 2 - octagon
    assert generalized_iou(unit, quarter).item() == pytest.approx(octagon / union - 1 + union / enclosing, abs=1e-6)


def test_enclosing_bounds_hold_the_corners():
    boxes = random_boxes(20, 4)
    low, high = enclosing_bounds(boxes)
    for row, lower, upper in zip(boxes[:, [0, 1, 3, 4, 6]], low, high):
        assert polygon(row).bounds == pytest.approx((*lower[:2].tolist(), *upper[:2].tolist()))


@pytest.mark.parametrize('rotated', [True, False])
def test_gradients(rotated):
    first, second = random_boxes(12, 5, rotated).requires_grad_(), random_boxes(12, 6, rotated)
    assert torch.autograd.gradcheck(lambda boxes: generalized_iou(boxes, second, rotated), first)


def test_degenerate_boxes_give_finite_values_and_gradients():
    flat = torch.zeros(1, 7, requires_grad=True)
    value = generalized_iou(flat, torch.tensor([[0., 0, 0, 1, 1, 1, 0]]))
    value.sum().backward()
    assert torch.isfinite(value).all() and torch.isfinite(flat.grad).all()
    assert generalized_iou(flat, flat).item() == 0
    assert generalized_iou(torch.zeros(0, 1, 7), torch.zeros(1, 5, 7)).shape == (0, 5)
