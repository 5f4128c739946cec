"""Figures whose texts come from the user: names of classes, files and scenes."""
import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image

from opendlign_mm.visualization import (
    depth_contact_sheet,
    draw_confusion_matrix,
    draw_few_shot_plot,
    draw_gallery,
    draw_image_sheet,
    draw_scene_from_above,
)
from opendlign_mm.visualization.boxes import visible_points

# Each fails or changes where it is taken for math; the last is a file name that is not UTF-8.
NAMES = ['$x^$', r'costs $5 or $6', r'$\frac{$', r'\$', r'a\$b$', 'caf\udce9']
SHOWN = NAMES[:-1] + ['caf?']


class Boxes:
    """What the drawing needs of mmdet3d's boxes."""

    def __init__(self, count):
        self.corners = torch.rand(count, 8, 3, generator=torch.Generator().manual_seed(0))

    def __len__(self):
        return len(self.corners)


def draw_with_every_function(folder, names):
    views, count = torch.ones(len(names), 2, 8, 8), len(names)
    thumbnails = np.zeros((count, 8, 8), np.uint8)
    yield draw_confusion_matrix(np.eye(count), names, folder / '1.png', names[0])
    yield draw_few_shot_plot([dict(shots=1, mean=1., std=None, seeds=1)], folder / '2.png', title=names[0])
    yield depth_contact_sheet(views, names, folder / '3.png')
    yield draw_image_sheet([np.zeros((2, 8, 8, 3), np.uint8)] * count, names, folder / '4.png')
    yield draw_gallery(thumbnails, names, folder / '5.png', names[0])
    yield draw_gallery(thumbnails, names, folder / '6.png', names[0], np.zeros((8, 8, 3), np.uint8))
    yield draw_scene_from_above(torch.rand(99, 3), folder / '7.png', Boxes(count), names, Boxes(count), names, names[0])


def test_texts_of_the_user_are_drawn_as_they_are(tmp_path, monkeypatch):
    drawn, save = [], Figure.savefig

    def look(figure, *arguments, **options):
        save(figure, *arguments, **options)
        texts = [text._preprocess_math(text.get_text()) for text in figure.findobj(Text)]
        drawn.append({shown for shown, is_math in texts if not is_math})

    monkeypatch.setattr(Figure, 'savefig', look)
    paths = list(draw_with_every_function(tmp_path, NAMES))
    assert all(np.asarray(Image.open(path)).std() > 0 for path in paths)
    for texts, names in zip(drawn, [SHOWN, SHOWN[:1], *[SHOWN] * 5], strict=True):
        found = '\n'.join(texts)
        assert all(name in found for name in names), (names, found)


@pytest.mark.parametrize('columns', [3, 6])
def test_points_and_colors_that_are_not_finite_do_not_end_a_drawing(tmp_path, columns):
    points = torch.rand(50, columns)
    points[3, 0], points[5, 2], points[7, -1] = float('nan'), float('inf'), float('nan')
    xyz, colors = visible_points(points)
    assert len(xyz) == (48 if columns == 6 else 47) and np.isfinite(colors).all()
    assert np.isfinite(xyz[:, :3]).all()
    assert draw_scene_from_above(points, tmp_path / 'scene.png').is_file()
