import math
import sys

import pytest
import torch

from opendlign_mm.box_ops.points_in_boxes import count_points_in_boxes, crop_points, points_in_boxes


def random_boxes(count, rotated=True, seed=0):
    generator = torch.Generator().manual_seed(seed)
    centers = torch.rand(count, 3, generator=generator) * 4 - 2
    sizes = torch.rand(count, 3, generator=generator) * 2 + 0.2
    yaws = (torch.rand(count, 1, generator=generator) * 2 - 1) * math.pi * rotated
    return torch.cat([centers, sizes, yaws], dim=1)


def loop_reference(points, boxes):
    """The definition, one point and one box at a time, in float64."""
    inside = torch.zeros(len(boxes), len(points), dtype=torch.bool)
    for m, (x, y, z, dx, dy, dz, yaw) in enumerate(boxes.double().tolist()):
        for n, (px, py, pz) in enumerate(points[:, :3].double().tolist()):
            along = math.cos(yaw) * (px - x) + math.sin(yaw) * (py - y)
            across = -math.sin(yaw) * (px - x) + math.cos(yaw) * (py - y)
            inside[m, n] = abs(along) <= dx / 2 and abs(across) <= dy / 2 and 0 <= pz - z <= dz
    return inside


@pytest.mark.parametrize('rotated', [False, True])
def test_equals_the_loop(rotated):
    points = torch.rand(400, 3, generator=torch.Generator().manual_seed(1)) * 6 - 3
    boxes = random_boxes(12, rotated)
    expected = loop_reference(points, boxes)
    assert expected.any() and not expected.all()
    assert torch.equal(points_in_boxes(points, boxes), expected)
    assert torch.equal(count_points_in_boxes(points, boxes), expected.sum(1))


def test_chunks_do_not_change_the_result(monkeypatch):
    points, boxes = torch.rand(300, 3) * 6 - 3, random_boxes(10)
    whole = points_in_boxes(points, boxes)
    # the package's attribute of this name is the function
    monkeypatch.setattr(sys.modules[points_in_boxes.__module__], 'MAX_ELEMENTS_PER_CHUNK', 1000)
    assert torch.equal(points_in_boxes(points, boxes), whole)
    assert torch.equal(count_points_in_boxes(points, boxes), whole.sum(1))


def test_agrees_with_corners_of_mmdet3d_boxes():
    from mmdet3d.structures import DepthInstance3DBoxes
    boxes = DepthInstance3DBoxes(random_boxes(8))
    center = boxes.gravity_center[:, None]
    just_inside = center + (boxes.corners - center) * 0.999
    just_outside = center + (boxes.corners - center) * 1.001
    for m in range(len(boxes)):
        assert points_in_boxes(just_inside[m], boxes)[m].all()
        assert not points_in_boxes(just_outside[m], boxes)[m].any()
        assert points_in_boxes(boxes.corners[m], boxes)[m].all()


def test_gravity_center_origin():
    boxes = random_boxes(5)
    raised = boxes.clone()
    raised[:, 2] += boxes[:, 5] / 2
    points = torch.rand(500, 3) * 6 - 3
    assert torch.equal(points_in_boxes(points, boxes), points_in_boxes(points, raised, origin='gravity_center'))


def test_margin():
    box = torch.tensor([[0., 0., 0., 2., 2., 2., 0.]])
    points = torch.tensor([[1.05, 0, 1], [0, 0, -0.05], [0, 0, 2.15]])
    assert points_in_boxes(points, box).tolist() == [[False, False, False]]
    assert points_in_boxes(points, box, margin=0.1).tolist() == [[True, True, False]]


def test_crop_in_box_frame_is_the_same_for_every_pose():
    generator = torch.Generator().manual_seed(3)
    shape = torch.rand(200, 3, generator=generator) * torch.tensor([2., 1., 0.5]) - torch.tensor([1., 0.5, 0.25])
    yaw, shift = 0.7, torch.tensor([3., -2., 1.])
    rotation = torch.tensor([[math.cos(yaw), math.sin(yaw), 0], [-math.sin(yaw), math.cos(yaw), 0], [0, 0, 1.]])
    colors = torch.rand(200, 3, generator=generator)
    points = torch.cat([shape @ rotation + shift, colors], dim=1)
    box = torch.tensor([[3., -2., 1. - 0.25, 2., 1., 0.5, yaw]])
    crops = crop_points(points, box)
    assert len(crops) == 1 and len(crops[0]) == 200
    torch.testing.assert_close(crops[0][:, :3], shape, atol=1e-5, rtol=0)
    assert torch.equal(crops[0][:, 3:], colors)
    assert torch.equal(crop_points(points, box, in_box_frame=False)[0], points)


def test_empty_boxes_points_and_results():
    points = torch.rand(10, 6)
    assert points_in_boxes(points, torch.zeros(0, 7)).shape == (0, 10)
    assert crop_points(points, torch.zeros(0, 7)) == []
    assert count_points_in_boxes(points, torch.zeros(0, 7)).shape == (0, )
    assert points_in_boxes(points[:0], random_boxes(3)).shape == (3, 0)
    far = torch.tensor([[100., 100., 100., 1., 1., 1.]])
    crops = crop_points(points, far)
    assert len(crops) == 1 and crops[0].shape == (0, 6)


def test_bad_input():
    with pytest.raises(ValueError, match=r'\(N, >=3\)'):
        points_in_boxes(torch.rand(4, 2), random_boxes(1))
    with pytest.raises(ValueError, match=r'\(M, 6\) or \(M, 7\)'):
        points_in_boxes(torch.rand(4, 3), torch.rand(2, 5))
    with pytest.raises(ValueError, match='negative'):
        points_in_boxes(torch.rand(4, 3), torch.tensor([[0., 0, 0, -1, 1, 1, 0]]))
    with pytest.raises(TypeError, match='tensor'):
        points_in_boxes(torch.rand(4, 3), [[0, 0, 0, 1, 1, 1, 0]])
    with pytest.raises(ValueError, match='origin'):
        points_in_boxes(torch.rand(4, 3), random_boxes(1), origin='corner')


@pytest.mark.skipif(not torch.cuda.is_available(), reason='no CUDA device')
def test_cuda_equals_cpu():
    points, boxes = torch.rand(5000, 3) * 6 - 3, random_boxes(50)
    on_cuda = points_in_boxes(points.cuda(), boxes)
    assert on_cuda.is_cuda
    # A point within rounding of a face may fall on either side.
    assert (on_cuda.cpu() != points_in_boxes(points, boxes)).sum() <= 2
