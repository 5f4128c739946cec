"""What the web page does behind its widgets: words, messages, figures, and limits of the server."""
import json
import os
import socket
from pathlib import Path

import numpy as np
import pytest

from opendlign_mm.command_line.main import main
from opendlign_mm.retrieval import ShapeIndex
from opendlign_mm.web import jobs as jobs_module
from opendlign_mm.web.figures import MAX_DRAWN, box_corners, draw_boxes, draw_points
from opendlign_mm.web.jobs import BUILT_IN_SHAPES, Jobs, example_shape, save_json
from opendlign_mm.web.server import _temporary_folder, check_port, launch
from opendlign_mm.web.visitors import guarded, message_for_visitors, parse_words


class Shown(Exception):
    """Error that a visitor sees."""


@pytest.fixture(scope='module')
def jobs():
    return Jobs(device='cpu')


def test_words_are_never_files_of_the_server(tmp_path):
    (tmp_path / 'secret.txt').write_text('password\n')
    assert parse_words(str(tmp_path / 'secret.txt')) == [str(tmp_path / 'secret.txt')]
    assert parse_words(' chair, office  desk\n\nlamp;,') == ['chair', 'office desk', 'lamp']
    assert len(parse_words('scannet18')) == 18
    for wrong, message in (('', 'type the names of the objects'), (' ,\n', 'type the names of the objects'),
                           ('chair, Chair', 'the same class'), ('a,' * 3000, 'too many'), ('?!', 'no letter or digit')):
        with pytest.raises(ValueError, match=message):
            parse_words(wrong)


def test_messages_hold_no_paths_of_the_server(tmp_path, capsys):
    path = str(tmp_path / 'page' / 'my chair.ply')
    for error, expected in (
            (ValueError(f'{path}: it has 0 points'), 'my chair.ply: it has 0 points'),
            (FileNotFoundError("no 'sub/dir' in /srv/app/models/weights.pth: sad"), "no 'sub/dir' in weights.pth: sad"),
            (ValueError('see https://example.org/a/b and 1/2 m'), 'see https://example.org/a/b and 1/2 m')):
        assert message_for_visitors(error, [path]) == expected

    def fail(_):
        raise KeyError('/srv/secret/inner state')

    with pytest.raises(Shown, match='^something went wrong on the server; its log says what$'):
        guarded(fail, Shown)(path)
    assert 'inner state' in capsys.readouterr().err
    with pytest.raises(Shown, match='^my chair.ply does not exist'):
        guarded(lambda name: jobs_module.Jobs().classify(name, 'chair'), Shown)(path)


def test_classify_a_file(jobs, tmp_path):
    np.save(tmp_path / 'lamp.npy', example_shape('lamp'))
    found = jobs.classify(str(tmp_path / 'lamp.npy'), 'chair, lamp, bed')
    assert found.labels[0] == 'lamp' and sorted(found.labels) == ['bed', 'chair', 'lamp']
    assert abs(sum(found.scores) - 1) < 1e-5 and found.views.shape[0] == 10 and found.views.dtype == np.uint8
    assert found.points.shape == (10_000, 3) and not found.notes
    turned = jobs.classify(example_shape('lamp')[:, [0, 2, 1]] * [1, 1, -1], 'chair, lamp, bed', 'y')
    assert turned.labels[0] == 'lamp'
    np.testing.assert_allclose(np.ptp(turned.points, axis=0), np.ptp(found.points, axis=0), atol=1e-6)
    assert 'zebra' in ' '.join(jobs.classify(example_shape('lamp'), 'lamp, zebra').notes)


def test_boxes_come_back_in_the_frame_of_the_file(jobs, monkeypatch):
    """The detector gets a level scene in meters; a stand-in finds the same box in it."""
    floor = np.random.default_rng(0).uniform([0, 0, 0], [5, 4, .02], (20_000, 3))
    box = np.random.default_rng(1).uniform([1, 1, 0], [2, 1.5, 1], (4000, 3))
    level = np.concatenate([floor, box])
    seen = []

    def scenes(inputs, **options):
        seen.append(inputs[0])
        own = inputs[0][20_000:24_000, :3]
        low, high = own.min(axis=0), own.max(axis=0)
        return dict(predictions=[dict(boxes=[dict(label='box', score=.7, num_points=9, bbox_3d=[
            *(low + high) / 2, *(high - low), 0.])])])

    monkeypatch.setattr(jobs, 'scenes', scenes)
    found = jobs.detect((level + [500_000, 3, 0]) * 1000, 'box')
    np.testing.assert_allclose(found.rows[0]['bbox_3d'], [500_001_500, 4250, 500, 1000, 500, 1000, 0], atol=30)
    assert 'millimeters' in ' '.join(found.notes) and np.abs(seen[0]).max() < 10
    assert found.above(.6) == [0] and found.above(.8) == []
    angle = np.radians(37)
    turn = np.array([[1, 0, 0], [0, np.cos(angle), -np.sin(angle)], [0, np.sin(angle), np.cos(angle)]])
    found = jobs.detect(level @ turn.T, 'box')
    row = found.rows[0]
    center, size = np.array(row['bbox_3d'][:3]), np.array(row['bbox_3d'][3:6])
    corners = center + (np.array([[.5, .5, .5], [-.5, -.5, -.5]]) * size) @ np.array(row['rotation']).T
    inside = np.sort(corners @ turn, axis=0)
    np.testing.assert_allclose(np.ptp(inside, axis=0)[2], 1, atol=.1)
    np.testing.assert_allclose(center @ turn, [1.5, 1.25, .5], atol=.1)


def test_search_by_words_and_shape(jobs, monkeypatch):
    monkeypatch.setattr(jobs_module, '_SHAPES_PER_CLASS', 1)
    monkeypatch.setattr(jobs_module, 'CATEGORIES', ('chair', 'lamp', 'bed'))
    found, kind = jobs.search(BUILT_IN_SHAPES, text='a lamp')
    assert kind == 'exact search among 3 shapes' and found[0][1].startswith('lamp 1: ') and len(found) == 3
    for options, message in ((dict(), 'give words, a picture or a shape$'), (dict(text=' '), 'give words'),
                             (dict(text='a', shape='b'), 'not words and a shape')):
        with pytest.raises(ValueError, match=message):
            jobs.search(BUILT_IN_SHAPES, **options)
    with pytest.raises(ValueError, match='not a collection'):
        jobs.search('/etc', text='a')


def test_views_in_color_name_shapes_and_depth_views_search(jobs, monkeypatch):
    monkeypatch.setattr(jobs_module, '_SHAPES_PER_CLASS', 1)
    monkeypatch.setattr(jobs_module, 'CATEGORIES', ('chair', 'lamp'))
    colored = Jobs(device='cpu', views='color')
    points = example_shape('lamp')
    by_color = {shade: colored.classify(np.hstack([points, np.full_like(points, shade)]), 'chair, lamp, bed')
                for shade in (.1, .9)}
    by_depth = jobs.classify(np.hstack([points, np.full_like(points, .1)]), 'chair, lamp, bed')
    scores = [dict(zip(found.labels, found.scores, strict=True)) for found in (*by_color.values(), by_depth)]
    assert scores[0] != scores[1] and scores[0] != scores[2]
    with pytest.raises(ValueError, match='has no colors'):
        colored.classify(points, 'chair, lamp')
    assert colored.looks_at == 'color' and jobs.looks_at == 'depth' and jobs.searched is jobs.shapes
    same, own = (each.search(BUILT_IN_SHAPES, text='a lamp')[0] for each in (jobs, colored))
    assert [title for _, title in own if 'lamp' in title] == [title for _, title in same if 'lamp' in title]
    assert colored.scenes.views == 'color'


def test_demo_takes_the_views(monkeypatch):
    given = {}
    monkeypatch.setattr('opendlign_mm.command_line.commands.demo.find_spec', lambda _: True)
    monkeypatch.setattr('opendlign_mm.web.launch', lambda **options: given.update(options))
    assert main(['demo', '--views', 'both']) == 0 and given['views'] == 'both'
    assert main(['demo']) == 0 and given['views'] is None


def test_an_index_of_the_same_model_is_searched_and_another_refused(jobs, tmp_path, monkeypatch):
    monkeypatch.setattr(jobs_module, '_SHAPES_PER_CLASS', 1)
    monkeypatch.setattr(jobs_module, 'CATEGORIES', ('chair', 'lamp', 'bed'))
    for name in ('lamp', 'bed'):
        (tmp_path / 'shapes' / name).mkdir(parents=True)
        np.save(tmp_path / 'shapes' / name / 'one.npy', example_shape(name))
    assert main(['index', str(tmp_path / 'shapes'), '--out', str(tmp_path / 'mine'), '--device', 'cpu']) == 0
    own = Jobs(device='cpu', index=tmp_path / 'mine')
    own.shapes = jobs.shapes
    assert own.index_names() == ['mine', BUILT_IN_SHAPES]
    found, _ = own.search('mine', shape=str(tmp_path / 'shapes/bed/one.npy'))
    assert len(found) == 2 and found[0][1].endswith(': 1.00') and 'bed' in found[0][1]
    about = json.loads((tmp_path / 'mine/index.json').read_text())
    (tmp_path / 'mine/index.json').write_text(json.dumps(dict(about, weights='of another model')))
    with pytest.raises(ValueError, match='was not made with opendlign-tiny; start the page with the model'):
        Jobs._check_model(own, ShapeIndex.load(tmp_path / 'mine'))


def test_figures():
    boxes = np.array([[1., 2, 3, 4, 2, 6, 0], [0, 0, 0, 2, 4, 2, np.pi / 2]])
    corners = box_corners(boxes)
    np.testing.assert_allclose(corners.min(axis=1), [[-1, 1, 0], [-2, -1, -1]], atol=1e-12)
    np.testing.assert_allclose(corners.max(axis=1), [[3, 3, 6], [2, 1, 1]], atol=1e-12)
    points = np.random.default_rng(0).uniform(0, 3, (50_000, 3))
    figure = draw_boxes(points, points / 3, boxes, ['bed', 'chair'], [.5, .25])
    assert len(figure.data[0].x) <= MAX_DRAWN and len(draw_points(points).data[0].x) == MAX_DRAWN
    names = [trace for trace in figure.data if trace.mode == 'markers+text']
    assert [trace.hovertext[0] for trace in names] == ['bed<br>score 0.50', 'chair<br>score 0.25']
    edges = [trace for trace in figure.data if trace.mode == 'lines']
    # Each of the 12 edges is drawn, none is a diagonal.
    path = [None if x is None else (x, y, z) for x, y, z in zip(edges[0].x, edges[0].y, edges[0].z)]
    drawn = {frozenset(pair) for pair in zip(path, path[1:]) if None not in pair}
    assert len(drawn) == 12 and all(sum(a != b for a, b in zip(*edge)) == 1 for edge in drawn)


def test_port_in_use_is_one_message():
    with socket.socket() as taken:
        taken.bind(('127.0.0.1', 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(OSError, match=f'^port {port} of 127.0.0.1 is in use.*--port'):
            launch(port=port)
    with pytest.raises(OSError, match='203.0.113.7 is not an address of this machine.*--host'):
        check_port('203.0.113.7', 7860)
    with pytest.raises(ValueError, match='from 1 to 65535'):
        launch(port=0)


def test_the_temporary_folder_is_removed(monkeypatch):
    monkeypatch.setenv('GRADIO_TEMP_DIR', '/before')
    with _temporary_folder(remove=True):
        saved = Path(save_json('result.json', dict(labels=['ä'])))
        assert json.loads(saved.read_text()) == dict(labels=['ä']) and saved.name == 'result.json'
        folder = Path(os.environ['GRADIO_TEMP_DIR'])
        assert folder in saved.parents
    assert not folder.exists() and os.environ['GRADIO_TEMP_DIR'] == '/before'
