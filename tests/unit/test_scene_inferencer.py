"""SceneInferencer: scans in, boxes in the words of the user out."""
import json

import numpy as np
import pytest
import torch
from mmdet3d.registry import MODELS
from mmengine.config import Config

from helpers.scenes import CLASSES
from helpers.tiny_inferencers import room, scene_config, scene_inferencer
from helpers.tool_modules import REPOSITORY
from opendlign_mm.apis import SceneInferencer


@pytest.fixture(scope='module')
def detect():
    return scene_inferencer()


def rows(boxes):
    return np.array([[*box['bbox_3d'], box['score']] for box in boxes])


def same(found, others):
    """Whether two results have the same boxes and labels, up to the rounding of sums in another order."""
    one, other = found['predictions'][0]['boxes'], others['predictions'][0]['boxes']
    return [box['label'] for box in one] == [box['label'] for box in other] and np.allclose(
        rows(one), rows(other), atol=1e-5)


def test_every_label_of_every_box_is_that_of_the_model(detect):
    """As tools/test.py gives them: the detector's own predict."""
    torch.manual_seed(0)
    every = scene_inferencer(labels_per_box=None)
    detector = MODELS.build(scene_config().model).eval()
    detector.set_vocabulary(CLASSES)
    points = room()
    expected = detector.predict(dict(points=[torch.from_numpy(points)]))[0].pred_instances_3d
    found = every(points, CLASSES, up='z')['predictions'][0]['boxes']
    assert len(found) == len(expected) > 12
    assert [box['label'] for box in found] == [CLASSES[label] for label in expected.labels_3d]
    boxes = np.concatenate([expected.bboxes_3d.gravity_center, expected.bboxes_3d.tensor[:, 3:7],
                            expected.scores_3d[:, None]], axis=1)
    assert np.allclose(rows(found), boxes, atol=1e-5)


def test_each_box_has_one_label_and_its_points_are_counted(detect):
    points = room()
    found = detect(points, CLASSES, up='z', return_views=True)['predictions'][0]['boxes']
    scores = [box['score'] for box in found]
    assert 1 < len(found) <= 12 and scores == sorted(scores, reverse=True)
    for box in found:
        center, size = np.array(box['bbox_3d'][:3]), np.array(box['bbox_3d'][3:6])
        assert box['num_points'] == (np.abs(points[:, :3] - center) <= size / 2 + 1e-5).all(axis=1).sum()
        assert box['views'].shape == (2, 32, 32) and box['views'].dtype == np.uint8
    best = detect(points, CLASSES, up='z', score_thr=found[1]['score'])['predictions'][0]['boxes']
    assert len(best) == 2 and len(detect(points, CLASSES, up='z', max_boxes=1)['predictions'][0]['boxes']) == 1


def test_scenes_in_map_coordinates_get_their_boxes_there(detect):
    points = room().astype(np.float64)
    near = rows(detect(points, CLASSES)['predictions'][0]['boxes'])
    points[:, :3] += (500000., 5400000., 100.)
    far = rows(detect(points, CLASSES)['predictions'][0]['boxes'])
    assert len(near) == len(far) and np.allclose(far[:, :3] - near[:, :3], (500000., 5400000., 100.), atol=.02)
    assert np.allclose(far[:, 3:], near[:, 3:], atol=.02)


def test_saved_features_serve_other_words_without_the_model(detect, tmp_path, monkeypatch):
    points = room()
    saved = detect(points, CLASSES, save_features=tmp_path)
    other = detect(points, ['sofa', 'plant'])
    monkeypatch.setattr(detect.model, 'encode_scene', None)
    assert same(detect(points, CLASSES, load_features=tmp_path), saved)
    assert same(detect(points, ['sofa', 'plant'], load_features=tmp_path), other)


def test_features_of_other_points_settings_or_weights_are_refused(detect, tmp_path):
    points = room()
    detect(points, CLASSES, save_features=tmp_path)

    def error(inferencer, cloud=points):
        return inferencer(cloud, CLASSES, load_features=tmp_path)['predictions'][0]['error']

    assert 'no features of the points of input 1' in error(detect, points + np.float32([.001, 0, 0, 0, 0, 0]))
    assert 'box_margin' in error(scene_inferencer(cfg_options={'model.box_margin': .1}))
    assert 'weights' in error(scene_inferencer(cfg_options={'model.classifier.backbone.random_seed': 1}))
    assert 'proposals' in error(scene_inferencer(proposals=dict(type='ClusterProposals', max_proposals=3)))
    file, = tmp_path.iterdir()
    file.write_bytes(file.read_bytes()[:1000])
    assert 'damaged' in error(detect)


def test_a_broken_scene_is_reported_in_its_place(detect, tmp_path):
    points = room()
    found = detect([points, 'no/such.ply', points[:, :2], points], CLASSES, out_dir=tmp_path / 'out', return_vis=True,
                   pred_out_file=tmp_path / 'found.json')
    first, second, third, fourth = found['predictions']
    assert 'no/such.ply' in second['error'] and '2)' in third['error']
    assert same(dict(predictions=[first]), dict(predictions=[fourth]))
    assert json.loads((tmp_path / 'found.json').read_text())['predictions'] == found['predictions']
    assert [image is None for image in found['visualization']] == [False, True, True, False]
    names = {path.name for path in (tmp_path / 'out').iterdir()}
    endings = ('.html', '_angle.png', '_boxes.png', '_views.png')
    assert names == {f'input_{number}{ending}' for number in (1, 4) for ending in endings}
    page = (tmp_path / 'out/input_1.html').read_text()
    assert '<script src' not in page and first['boxes'][0]['label'] in page


def test_a_classifiers_config_becomes_a_detector(detect):
    cfg = scene_config()
    cfg = Config(dict(cfg.to_dict(), projection=cfg.model.projection, model=cfg.model.classifier))
    inferencer = SceneInferencer(cfg, device='cpu', show_progress=False,
                                 proposals=dict(type='ClusterProposals', max_proposals=12))
    assert same(inferencer(room(), CLASSES), detect(room(), CLASSES))


def corners(box):
    """The corners of a box in the frame of its input."""
    x, y, z, *size, yaw = box['bbox_3d']
    turn = np.array([[np.cos(yaw), -np.sin(yaw), 0], [np.sin(yaw), np.cos(yaw), 0], [0, 0, 1]])
    turn = np.array(box.get('rotation', turn))
    signs = np.array([[i, j, k] for i in (-.5, .5) for j in (-.5, .5) for k in (-.5, .5)])
    return (signs * size) @ turn.T + (x, y, z)


def test_the_named_demonstration_model_detects_as_its_config_for_tests_does():
    detect = SceneInferencer('opendlign-tiny', device='cpu', labels_per_box=None, show_progress=False)
    tested = Config.fromfile(REPOSITORY / 'configs/opendlign_tiny_scannet.py').model
    assert detect.cfg.model.bbox_head == tested.bbox_head and detect.cfg.model.size_priors == tested.size_priors
    assert detect.model.size_priors.weight == tested.size_priors.weight


def test_a_turned_scene_in_millimeters_gets_the_same_boxes(detect):
    points = room().astype(np.float64)
    expected = detect(points, CLASSES)['predictions'][0]['boxes']
    assert not any('rotation' in box for box in expected)
    angle = np.radians(37)
    turn = np.array([[1, 0, 0], [0, np.cos(angle), -np.sin(angle)], [0, np.sin(angle), np.cos(angle)]])
    points[:, :3] = points[:, :3] @ turn.T * 1000
    prediction = detect(points.astype(np.float32), CLASSES)['predictions'][0]
    assert 'tilted by 37 degrees' in prediction['frame'] and 'millimeters' in prediction['frame']
    assert len(prediction['boxes']) == len(expected) > 4
    for box, other in zip(prediction['boxes'], expected):
        assert box['label'] == other['label'] and box['num_points'] == pytest.approx(other['num_points'], abs=3)
        assert np.abs(corners(box) @ turn / 1000 - corners(other)).max() < .03


@pytest.mark.parametrize('options, words', [
    (dict(score_thr=2.), 'score_thr'), (dict(up='x'), "'x'"), (dict(units='km'), "'km'"),
    (dict(save_features='a', load_features='b'), 'either'),
    (dict(out_dir=__file__), 'is a file')])
def test_options_that_make_no_sense_are_refused(detect, options, words):
    with pytest.raises(ValueError, match=words):
        detect(room(), CLASSES, **options)
