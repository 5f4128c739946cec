"""Contact sheets, boxes from above, pages for the browser, and the tool that makes them."""
import base64
import io
import json
import pickle
from html.parser import HTMLParser

import numpy as np
import pytest
import torch
from mmdet3d.structures import DepthInstance3DBoxes
from PIL import Image

from helpers.scenes import furnished_room
from helpers.tiny_clip import TINY_CLIP
from helpers.tool_modules import load_tool, run_tool
from opendlign_mm.datasets.procedural.room_writer import write_rooms
from opendlign_mm.structures import SceneDetections
from opendlign_mm.visualization import depth_contact_sheet, draw_scene_from_above
from opendlign_mm.visualization.boxes import _draw_boxes, spread_labels
from opendlign_mm.visualization.figures import new_figure
from opendlign_mm.visualization.scene_page import write_scene_page


def read(path):
    return np.asarray(Image.open(path).convert('RGB')).astype(int)


def test_contact_sheet_shows_each_view_in_its_place(tmp_path):
    views = torch.ones(2, 3, 20, 20)
    views[0, 1, 5:15, 5:15] = 0.
    views[1, 2, 5:15, 5:15] = 0.
    path = depth_contact_sheet(views, ['chair', 'a long title\nof two lines'], tmp_path / 'deep' / 'sheet.png')
    assert path.is_file() and [p.name for p in path.parent.iterdir()] == ['sheet.png']
    image = read(path)
    height, width = image.shape[:2]
    dark = (image.max(axis=2) < 60)
    right = dark[:, int(width * 0.45):]  # right of the titles
    top, bottom = np.argwhere(right[:height // 2]), np.argwhere(right[height // 2:])
    assert len(top) > 100 and len(bottom) > 100
    assert bottom[:, 1].mean() - top[:, 1].mean() > width * 0.1  # one view further to the right


def test_contact_sheet_errors(tmp_path):
    with pytest.raises(ValueError, match=r'\(K, V, H, W\)'):
        depth_contact_sheet(torch.ones(0, 3, 8, 8), [], tmp_path / 'a.png')
    with pytest.raises(ValueError, match='2 objects but 1 titles'):
        depth_contact_sheet(torch.ones(2, 3, 8, 8), ['one'], tmp_path / 'a.png')
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize('columns', [3, 6])
def test_boxes_from_above(tmp_path, columns):
    points, truth = furnished_room()
    boxes = DepthInstance3DBoxes(torch.cat([truth, torch.full((4, 1), 0.2)], dim=1), origin=(0.5, 0.5, 0.5))
    points = points[:, :columns]
    without = read(draw_scene_from_above(points, tmp_path / 'without.png', truth=boxes[:0], title='room'))
    path = draw_scene_from_above(points, tmp_path / 'with.png', boxes, list('abcd'), boxes[:0], title='room')
    image = read(path)
    assert image.shape == without.shape
    # tab:red outlines and labels appear in the right half only
    red = (np.abs(image - [214, 39, 40]).sum(axis=2) < 30) & ~(np.abs(without - [214, 39, 40]).sum(axis=2) < 30)
    half = image.shape[1] // 2
    assert red[:, half:].sum() > 500 and red[:, :half].sum() < 50


def test_names_of_boxes_in_one_place_do_not_cover_each_other():
    figure = new_figure((5, 5))
    axis = figure.subplots()
    axis.set(xlim=(-2, 2), ylim=(-2, 2))
    labels = _draw_boxes(axis, DepthInstance3DBoxes(torch.tensor([[0., 0, 0, 1, 1, 1, 0]] * 6)), ['chair'] * 6, 'red')
    figure.draw_without_rendering()
    spread_labels(labels, 72 / figure.dpi)
    figure.draw_without_rendering()
    bounds = [label.get_bbox_patch().get_window_extent() for label in labels]
    middles = sorted((box.y0 + box.y1) / 2 for box in bounds)
    assert np.diff(middles).min() > .95 * bounds[0].height and np.ptp([box.x0 for box in bounds]) < 1


def test_boxes_from_above_of_nothing(tmp_path):
    points, truth = furnished_room()
    assert draw_scene_from_above(points[:0], tmp_path / 'empty.png').is_file()
    with pytest.raises(ValueError, match='4 predicted boxes but 0 names'):
        draw_scene_from_above(points, tmp_path / 'a.png', DepthInstance3DBoxes(truth, box_dim=6, with_yaw=False))


class Page(HTMLParser):
    """Tags, texts and the images of a page; an error where tags are not closed in order."""
    EMPTY = ('meta', 'img', 'br')

    def __init__(self, path):
        super().__init__()
        self.open, self.texts, self.images = [], [], []
        self.feed(path.read_text())
        assert not self.open

    def handle_starttag(self, tag, attributes):
        if tag == 'img':
            self.images.append(base64.b64decode(dict(attributes)['src'].split(',')[1]))
        if tag not in self.EMPTY:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)


def detections(points, boxes, **options):
    views = torch.ones(len(boxes), 3, 8, 8)
    views[..., 2:6, 2:6] = torch.arange(len(boxes))[:, None, None, None] / 10
    filled = dict(
        name='room <1>', points=points, boxes=boxes, labels=[f'chair & {i} 0.50' for i in range(len(boxes))],
        classes=[[('chair & co', .75), ('sofa', .25)]] * len(boxes),
        matches=['ground truth: chair (IoU 0.90)'] * len(boxes), depth_views=views if len(boxes) else None,
        gt_boxes=None, gt_labels=[])
    return SceneDetections(**dict(filled, **options))


def plotted(path):
    """The traces that the page hands to plotly."""
    _, _, text = path.read_text().partition('Plotly.newPlot(')
    _, _, text = text.partition('[')
    return json.JSONDecoder().raw_decode('[' + text)[0]


def test_page_of_a_scene(tmp_path):
    points, truth = furnished_room()
    boxes = DepthInstance3DBoxes(torch.cat([truth, torch.full((4, 1), 0.2)], dim=1), origin=(0.5, 0.5, 0.5))
    path = write_scene_page(detections(points, boxes, gt_boxes=boxes[:2], gt_labels=['sofa', 'bed']),
                            tmp_path / 'deep/room.html')
    assert (path.parent / 'plotly.min.js').stat().st_size > 100_000 and len(list(path.parent.iterdir())) == 2
    page = Page(path)
    assert 'room <1>: 4 predicted boxes, 2 ground-truth boxes' in page.texts and 'chair & co 0.75' in page.texts
    assert len(page.images) == 4
    images = [np.asarray(Image.open(io.BytesIO(image))) for image in page.images]
    assert all(image.shape == (8, 3 * 10) for image in images)
    assert [int(image[4, 14]) for image in images] == [0, 26, 51, 76]
    cloud, outlines, texts, true_outlines, true_texts = plotted(path)
    assert cloud['name'] == 'points' and len(cloud['marker']['color']) > 5000
    assert {'rgb(200,30,30)', 'rgb(30,200,30)'} <= set(cloud['marker']['color'])
    named = [trace['name'] for trace in (outlines, texts, true_outlines, true_texts)]
    assert named == ['predicted boxes', 'predicted classes', 'ground-truth boxes',
                     'ground-truth classes'], 'each has its switch'
    assert true_texts['visible'] == 'legendonly' and 'visible' not in true_outlines
    assert outlines['line']['color'] != true_outlines['line']['color']
    assert texts['text'][0] == '<b>1 chair &amp; 0 0.50</b>' and 'IoU 0.90' in texts['hovertext'][0]
    assert true_texts['text'] == ['<b>sofa</b>', '<b>bed</b>'] and 'markers' in true_texts['mode']
    # The walk passes all twelve edges of each box, each once, and jumps along none.
    corners = np.array([[np.nan if value is None else value for value in outlines[axis]] for axis in 'xyz']).T
    lengths = np.linalg.norm(np.diff(corners, axis=0), axis=1).reshape(-1)
    lengths = np.sort(lengths[np.isfinite(lengths)])
    np.testing.assert_allclose(lengths, np.sort(np.tile(truth[:, 3:].numpy(), (1, 4)).flatten()), atol=1e-4)


def test_page_of_nothing(tmp_path):
    points, truth = furnished_room()
    for scene in (points[:0], points[:1], points[:, :3]):
        path = write_scene_page(detections(scene, DepthInstance3DBoxes(torch.zeros(0, 7))), tmp_path / 'room.html')
        assert Page(path).images == [] and len(plotted(path)) == 3


def draw(*arguments):
    return run_tool('visualize_detections', *arguments)


def test_tool_draws_boxes_and_views(tmp_path):
    write_rooms(tmp_path / 'rooms', num_val=1, num_points=8000)
    (tmp_path / 'clip.json').write_text(json.dumps(TINY_CLIP))
    backbone = 'model.classifier.backbone'
    result = draw(
        'configs/opendlign_tiny_scannet.py', '--out', tmp_path / 'figures', '--max-boxes', 5, '--device', 'cpu',
        '--cfg-options', f'data_root={tmp_path / "rooms"}', f'{backbone}.clip=tiny',
        f'{backbone}.model_config={tmp_path / "clip.json"}', f'{backbone}.pretrained=None',
        'model.projection.resolution=32', 'model.projection.depth_bins=8')
    assert result.returncode == 0, result.stderr[-3000:]
    names = sorted(path.name for path in (tmp_path / 'figures').iterdir())
    assert names == ['plotly.min.js', 'room_val_0000.html', 'room_val_0000_angle.png', 'room_val_0000_boxes.png',
                     'room_val_0000_views.png']
    for path in (tmp_path / 'figures').glob('*.png'):
        assert read(path).std() > 5
    page = (tmp_path / 'figures/room_val_0000.html').read_text()
    assert page.count('<div class="box">') == page.count('<img') == 5 and page.count('class="bar"') == 5 * 5


def test_tool_names_a_config_without_detector(tmp_path):
    result = draw('configs/opendlign_tiny.py', '--out', tmp_path / 'figures')
    assert result.returncode == 2
    assert 'OpenVocabDetector3D' in result.stderr and 'Traceback' not in result.stderr


def test_projection_sheet_takes_one_object_of_each_class(tmp_path):
    write_rooms(tmp_path, num_val=1, num_points=8000)
    tool = load_tool('analysis_tools/projection_sheet')
    infos = pickle.loads((tmp_path / 'scannet_infos_val.pkl').read_bytes())
    name_of = {label: name for name, label in infos['metainfo']['categories'].items()}
    instances = infos['data_list'][0]['instances']
    present = {name_of[box['bbox_label_3d']] for box in instances}
    objects = {name.split(' (')[0]: points for name, points in tool.scene_objects(tmp_path)}
    assert objects and set(objects) <= present
    for name, points in objects.items():  # within the size of one of the boxes of that class
        sizes = [np.array(box['bbox_3d'][3:6]) for box in instances if name_of[box['bbox_label_3d']] == name]
        extent = np.ptp(points.numpy(), axis=0)
        assert len(points) >= 50 and any((extent <= size + 1e-3).all() for size in sizes)
    chosen = next(iter(objects))
    assert [name.split(' (')[0] for name, _ in tool.scene_objects(tmp_path, [chosen])] == [chosen]
