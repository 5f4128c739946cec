"""The picture of a scene at an angle: what is nearer covers what is behind, and each box has its frame and name."""
import numpy as np
import pytest
import torch
from mmdet3d.structures import DepthInstance3DBoxes
from PIL import Image

from opendlign_mm.visualization import draw_scene_at_an_angle


def picture(path) -> np.ndarray:
    return np.asarray(Image.open(path).convert('RGB')).astype(int)


def test_nearer_points_cover_those_behind_whatever_their_order(tmp_path):
    # A camera at azimuth 0 stands at -y: of a dense wall at y = 0 and one at y = 1, the first is seen.
    side, height = np.meshgrid(np.linspace(-1, 1, 120), np.linspace(0, 1.5, 90))
    walls = [np.stack([side.ravel(), np.full(side.size, y), height.ravel(), *np.full((3, side.size), 0) + color], 1)
             for y, color in ((0., [[1.], [0.], [0.]]), (1., [[0.], [0.], [1.]]))]
    for order in (walls, walls[::-1]):
        image = picture(draw_scene_at_an_angle(torch.tensor(np.concatenate(order)), tmp_path / 'walls.png', azimuth=0,
                                               elevation=0))
        red = (image[..., 0] > 200) & (image[..., 2] < 60)
        blue = (image[..., 2] > 200) & (image[..., 0] < 60)
        assert red.sum() > 1000 and not blue.any()


def test_boxes_have_frames_where_their_corners_are(tmp_path):
    points = torch.tensor([[-2., -2, 0], [2, 2, 0], [-2, 2, 0], [2, -2, 0]])
    boxes = DepthInstance3DBoxes(torch.tensor([[0., 0, 0, 1, 1, 1, 0]]))
    empty = picture(draw_scene_at_an_angle(points, tmp_path / 'points.png', elevation=90, azimuth=0))
    framed = picture(draw_scene_at_an_angle(points, tmp_path / 'box.png', boxes, ['chair 0.5'], elevation=90,
                                            azimuth=0))
    added = (framed != empty).any(-1) & (np.abs(framed - framed[0, 0]).sum(-1) > 60)
    rows, columns = added.nonzero()
    # From above the frame is a square a quarter as wide as the points; its label lies on the upper edge.
    spots = (np.abs(empty - 255).sum(-1) > 60).nonzero()[1]
    assert (columns.max() - columns.min()) / (spots.max() - spots.min()) == pytest.approx(.25, abs=.05)
    assert rows.max() - rows.min() >= .9 * (columns.max() - columns.min())


def test_a_label_for_each_box(tmp_path):
    with pytest.raises(ValueError, match='0 boxes but 1 names'):
        draw_scene_at_an_angle(torch.zeros(4, 3), tmp_path / 'none.png', names=['chair'])
