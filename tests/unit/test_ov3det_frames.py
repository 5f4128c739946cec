"""OV-3DET's protocol on single frames: clusters, boxes, files, infos, configs, and average precision by hand."""
import argparse
import contextlib

import cv2
import numpy as np
import pytest
import torch
from mmdet3d.registry import DATASETS, METRICS
from mmdet3d.structures import DepthInstance3DBoxes
from mmengine.config import Config
from mmengine.registry import init_default_scope
from scipy.spatial.transform import Rotation

import opendlign_mm.evaluation  # noqa: F401
from helpers.frame_scans import POSE, SHAPE, board_points, labels_of, write_frame
from helpers.tool_modules import REPOSITORY, run_tool
from opendlign_mm.command_line.options import add_common_options, add_templates_option, load_config
from opendlign_mm.datasets.class_names import BACKGROUNDS, OV3DET_NYU40_IDS
from opendlign_mm.datasets.clustered_boxes import clustered_boxes, confirmed, oriented_box
from opendlign_mm.datasets.detection_protocols import FRAME_PROTOCOLS, SUN20
from opendlign_mm.datasets.ov3det_frames import annotate_scan, write_annotated_frames
from opendlign_mm.models.prompts import resolve_templates

CODA_PROMPT = 'a photo of a {} in the scene'
TURN = np.pi / 6  # of the world in the scan
CHAIR, TABLE = (slice(10, 40), slice(20, 60)), (slice(45, 58), slice(5, 75))


def block(size, center=(0, 0, 0), turn=0., step=.02):
    """Return a grid of points that fills a box up to its faces."""
    axes = [np.arange(round(length / step) + 1) * step - length / 2 for length in size]
    grid = np.stack(np.meshgrid(*axes, indexing='ij'), axis=-1).reshape(-1, 3)
    return grid @ Rotation.from_euler('z', turn).as_matrix().T + center


def speck(count, center):
    """Return points that are all neighbors."""
    return np.random.default_rng(0).uniform(-.02, .02, (count, 3)) + center


# --- clusters and boxes -----------------------------------------------------------------------------------------------

@pytest.mark.parametrize('turn', [0, TURN, -1.5, np.pi / 2])
def test_a_box_lies_along_the_longer_side_of_its_points(turn):
    box = oriented_box(block((.8, .4, .2), (1, 2, .5), turn))
    np.testing.assert_allclose(box[:6], [1, 2, .5, .8, .4, .2], atol=1e-9)
    assert np.sin(box[6] - turn) == pytest.approx(0, abs=1e-9), 'equal but for half turns'
    assert -np.pi / 2 - 1e-9 < box[6] < np.pi / 2 + 1e-9


def test_clusters_of_a_class_give_boxes_if_they_are_large_enough():
    chairs = [block((.4, .2, .2), (0, 0, 0)), block((.4, .2, .2), (2, 0, 0), TURN), speck(101, (4, 0, 0))]
    num = sum(len(part) for part in chairs)
    assert num == 2 * 21 * 11 * 11 + 101, 'the speck is less than a tenth of the class'
    beds = [speck(101, (0, 5, 0)), speck(100, (2, 5, 0)), speck(99, (4, 5, 0))]  # more than 100 points, and 100 around
    sofas, walls = [speck(99, (0, 9, 0))], [block((.4, .4, .2), (5, 9, 0))]
    parts = [(chairs, 5), (beds, 4), (sofas, 6), (walls, 1)]
    points = np.concatenate([np.concatenate(objects) for objects, _ in parts])
    labels = np.concatenate([np.full(sum(map(len, objects)), identifier) for objects, identifier in parts])
    boxes, classes = clustered_boxes(points, labels, (4, 5, 6))
    assert classes.tolist() == [0, 1, 1]
    np.testing.assert_allclose(boxes[0, :3], (0, 5, 0), atol=.01)
    np.testing.assert_allclose(boxes[1:], [[0, 0, 0, .4, .2, .2, 0], [2, 0, 0, .4, .2, .2, TURN]], atol=1e-9)
    boxes, classes = clustered_boxes(points[:0], labels[:0], (4, 5))
    assert boxes.shape == (0, 7) and classes.shape == (0, )


@pytest.mark.parametrize('limit, found', [(200, [0]), (251, [0, 5])])
def test_of_a_class_with_many_points_every_nth_is_clustered(monkeypatch, limit, found):
    monkeypatch.setattr('opendlign_mm.datasets.clustered_boxes.CLUSTERED_POINTS', limit)
    points = speck(500, (0, 0, 0))
    points[1::2, 0] += 5
    boxes, _ = clustered_boxes(points, np.full(500, 5), (5, ))  # 500 // 200 = 2, 500 // 251 = 1
    np.testing.assert_allclose(boxes[:, 0], found, atol=.01)


def test_boxes_count_above_the_iou_with_a_box_of_their_class_in_the_whole_scan():
    far = 1000  # meters from the origin
    boxes = np.array([[0, 0, 0, 1, 1, 1, 0]] * 3 + [[9, 0, 0, 2, 1, 1, 0]] * 2, dtype=float)
    boxes[:, 0] += far
    whole = np.array([[0, 0, 0, 1, 1, 4, 0],  # IoU 1 / 4
                      [0, 0, 0, 1, 1, 3.9, 0], [0, 0, 0, 1, 1, 3.8, 0],  # a little more, twice
                      [9, 0, 0, 2, 1, 1, np.pi / 2],  # 1 / 3
                      [9, 0, .2, 2, 1, 1.4, np.pi / 2]], dtype=float)  # 1 / 3.8, with its bottom at that of the box
    whole[:, 0] += far
    kept = confirmed(boxes, np.array([0, 1, 7, 2, 3]), whole, np.array([0, 1, 1, 2, 3]))
    assert kept.tolist() == [False, True, False, True, True]
    assert confirmed(boxes[:0], np.zeros(0, int), whole, np.zeros(5, int)).shape == (0, )
    assert not confirmed(boxes, np.zeros(5, int), whole[:0], np.zeros(0, int)).any()


# --- from frames to the dataset of the config -------------------------------------------------------------------------

@pytest.fixture(scope='module')
def scans(tmp_path_factory):
    """Return a folder with a scan of four frames: two show a chair and a table, one a corner of the chair."""
    folder = tmp_path_factory.mktemp('frames')
    turned = np.eye(4)
    turned[:3, :3] = Rotation.from_euler('z', TURN).as_matrix()
    lost = turned @ POSE
    lost[0, 3] = np.nan
    labels = labels_of((40, slice(0, 60), slice(0, 80)), (5, *CHAIR), (7, *TABLE))
    write_frame(folder / 'scene0000_00', '000000', labels, turned @ POSE)
    write_frame(folder / 'scene0000_00', '000050', labels, lost)
    write_frame(folder / 'scene0000_00', '000100', labels, turned @ POSE)
    write_frame(folder / 'scene0000_00', '000200', labels_of((5, slice(10, 20), slice(20, 32))), turned @ POSE)
    write_frame(folder / 'scene0001_00', '000000', labels_of((1, slice(0, 60), slice(0, 80))))
    return folder


def expected_box(rows, columns):
    """Return the box around the pixels of a board, whose columns are symmetric, in the world before it is turned."""
    points = board_points(np.arange(rows.start, rows.stop), np.arange(columns.start, columns.stop))
    lower, upper = points.min(axis=0), points.max(axis=0)
    return np.concatenate([(lower + upper) / 2, upper - lower])


def test_frames_are_annotated_and_read_by_the_config(scans, tmp_path):
    result = run_tool('make_ov3det_frames', scans, '--out', tmp_path / 'frames')
    assert result.returncode == 0, result.stderr
    assert '4 boxes in 2 of 5 frames of 2 scans; the others have no box, 1 of them no pose' in result.stdout
    assert sorted(path.name for path in (tmp_path / 'frames').glob('*.npy')) == [
        f'scene0000_00_000{number}00_{kind}.npy' for number in (0, 1) for kind in ('bbox', 'pc')]
    result = run_tool('make_coda_infos', tmp_path / 'frames', '--protocol', 'ov3det_scannet20', '--out',
                      tmp_path / 'data', '--max-points', 4000)
    assert '2 frames, 4 boxes of 20 classes' in result.stdout, result.stderr
    init_default_scope('mmdet3d')
    config = Config.fromfile(REPOSITORY / 'configs/scannet/ov3det_scannet20.py').test_dataloader.dataset
    dataset = DATASETS.build(dict(config, data_root=str(tmp_path / 'data')))
    assert dataset.metainfo['classes'] == tuple(OV3DET_NYU40_IDS) and len(dataset) == 2
    item = dataset[1]
    truth = item['data_samples'].eval_ann_info
    assert [dataset.metainfo['classes'][label] for label in truth['gt_labels_3d']] == ['chair', 'table']
    expected = np.stack([expected_box(*CHAIR), expected_box(*TABLE)])
    expected[:, :3] -= board_points(np.arange(SHAPE[0]), np.arange(SHAPE[1])).mean(axis=0)
    np.testing.assert_allclose(truth['gt_bboxes_3d'].gravity_center @ Rotation.from_euler('z', TURN).as_matrix(),
                               expected[:, :3], atol=1e-3)
    np.testing.assert_allclose(truth['gt_bboxes_3d'].dims, expected[:, 3:], atol=1e-3)
    np.testing.assert_allclose(np.sin(truth['gt_bboxes_3d'].yaw - TURN), 0, atol=1e-3)
    points = item['inputs']['points']
    assert points.shape == (4000, 6) and points[:, :3].mean(dim=0).abs().max() < .02
    across = points[:, :3] @ torch.tensor([np.cos(TURN), np.sin(TURN), 0]).float()  # x of the camera
    assert (points[across > .1, 3] > 240).all() and (points[across < -.1, 3] < 10).all(), 'red on the right'


def test_a_repeated_run_makes_what_is_missing_and_refuses_the_frames_of_other_scans(scans, tmp_path):
    out, split = tmp_path / 'frames', tmp_path / 'val.txt'
    split.write_text('scene0000_00\n')
    arguments = (scans, '--split', split, '--out', out)
    first = run_tool('make_ov3det_frames', *arguments)
    stored = out / 'scene0000_00_000000_pc.npy'
    before = stored.stat().st_mtime_ns
    assert run_tool('make_ov3det_frames', *arguments).stdout == first.stdout and stored.stat().st_mtime_ns == before
    (out / 'scene0000_00.json').write_text('{')  # as if the run had been killed
    stale = out / 'scene0000_00_000200_bbox.npy'
    stale.write_bytes(b'')
    assert run_tool('make_ov3det_frames', *arguments, '--workers', 2).stdout == first.stdout
    assert stored.stat().st_mtime_ns > before and not stale.exists()
    split.write_text('scene0001_00\n')
    result = run_tool('make_ov3det_frames', *arguments)
    assert result.returncode == 2 and 'such as scene0000_00; give another folder --out' in result.stderr


def test_frames_of_an_interrupted_run_are_refused_until_a_run_has_ended(scans, tmp_path, monkeypatch):
    out = tmp_path / 'frames'
    read = ('make_coda_infos', out, '--protocol', 'ov3det_scannet20', '--out', tmp_path / 'data')

    def interrupted(scan, out, seed):
        if scan.name == 'scene0001_00':
            raise KeyboardInterrupt
        return annotate_scan(scan, out, seed)

    with monkeypatch.context() as patch, contextlib.suppress(KeyboardInterrupt):
        patch.setattr('opendlign_mm.datasets.ov3det_frames.annotate_scan', interrupted)
        run_tool('make_ov3det_frames', scans, '--out', out)
    assert len(list(out.glob('scene0000_00_*.npy'))) == 4 and not (out / 'scene0001_00.json').exists()
    result = run_tool(*read)
    assert result.returncode == 2 and f'{out} lacks frames' in result.stderr and not (tmp_path / 'data').exists()
    assert run_tool('make_ov3det_frames', scans, '--out', out).returncode == 0
    assert '2 frames, 4 boxes' in run_tool(*read).stdout


def test_points_are_thinned_in_the_whole_scan_and_drawn_for_the_file(scans, tmp_path, monkeypatch):
    scan = scans / 'scene0000_00'
    monkeypatch.setattr('opendlign_mm.datasets.ov3det_frames.STORED_POINTS', 1000)
    assert write_annotated_frames(scan, tmp_path, 1) == dict(frames=4, without_pose=1, written=2, boxes=4)
    drawn = np.load(tmp_path / 'scene0000_00_000000_pc.npy')
    assert drawn.shape == (1000, 6) and len(np.unique(drawn, axis=0)) == 1000
    write_annotated_frames(scan, tmp_path, 2)
    assert not np.array_equal(np.load(tmp_path / 'scene0000_00_000000_pc.npy'), drawn), 'another seed'
    # One of ten points, in three frames, leaves fewer than 100 within 10 cm: the scan has no boxes to confirm others.
    monkeypatch.setattr('opendlign_mm.datasets.ov3det_frames.POINTS_OF_WHOLE', 480)
    assert write_annotated_frames(scan, tmp_path) == dict(frames=4, without_pose=1, written=0, boxes=0)
    assert not list(tmp_path.glob('*.npy')), 'frames of the earlier run are gone'


def test_a_scan_that_has_become_unreadable_is_not_taken_as_done(tmp_path):
    scan, out = tmp_path / 'scene0000_00', tmp_path / 'out'
    write_frame(scan, '0', labels_of((5, *CHAIR)))
    assert annotate_scan(scan, out)['boxes'] == 1
    (scan / 'label/0.png').unlink()
    assert 'label/0.png does not exist' in annotate_scan(scan, out, seed=1)
    assert 'label/0.png does not exist' in annotate_scan(scan, out), 'the frames of the first run are gone'


@pytest.mark.parametrize('file, error', [
    ('label/0.png', 'label/0.png does not exist'), ('color/0.jpg', 'color/0.jpg does not exist'),
    ('intrinsics_depth.txt', 'has no intrinsics'), ('depth/0.png', 'has no depth images'),
    ('pose/0.txt', 'has no frame with a finite pose')])
def test_scans_with_missing_files_are_named(tmp_path, file, error):
    write_frame(tmp_path / 'scans/scene0000_00', '0', labels_of((5, *CHAIR)))
    (tmp_path / 'scans/scene0000_00' / file).unlink()
    result = run_tool('make_ov3det_frames', tmp_path / 'scans', '--out', tmp_path / 'out')
    assert result.returncode == 2 and 'none of 1 scans is readable' in result.stderr and error in result.stderr


def test_labels_that_are_not_of_nyu40_or_of_another_size_are_refused(tmp_path):
    scan = tmp_path / 'scans/scene0000_00'
    write_frame(scan, '0', labels_of((41, *CHAIR)))
    result = run_tool('make_ov3det_frames', tmp_path / 'scans', '--out', tmp_path / 'out')
    assert 'label/0.png must be an image of NYU40 ids, 0 to 40' in result.stderr
    cv2.imwrite(str(scan / 'label/0.png'), np.zeros(SHAPE, np.uint8))
    result = run_tool('make_ov3det_frames', tmp_path / 'scans', '--out', tmp_path / 'out')
    assert 'depth/0.png: labels must have the size of the color image, (120, 160)' in result.stderr


def test_frames_of_sun_rgbd_are_read_by_their_config(tmp_path):
    (tmp_path / 'frames').mkdir()
    points = np.random.default_rng(0).uniform(0, 1, (300, 6))
    np.savez(tmp_path / 'frames/000001_pc.npz', pc=points)
    np.save(tmp_path / 'frames/000001_bbox.npy', [[1, 2, .5, .25, .3, .45, .3, 19], [1, 2, .5, 1, 1, 1, 0, 20]])
    result = run_tool('make_coda_infos', tmp_path / 'frames', '--protocol', 'ov3det_sun20', '--out', tmp_path / 'data')
    assert '1 frames, 1 boxes of 20 classes' in result.stdout, result.stderr
    config = Config.fromfile(REPOSITORY / 'configs/scannet/ov3det_sun20.py')
    init_default_scope('mmdet3d')
    dataset = DATASETS.build(dict(config.test_dataloader.dataset, data_root=str(tmp_path / 'data')))
    assert dataset.metainfo['classes'] == SUN20 == tuple(FRAME_PROTOCOLS['ov3det_sun20'].classes)
    truth = dataset[0]['data_samples'].eval_ann_info
    assert truth['gt_labels_3d'].tolist() == [SUN20.index('scanner')]
    np.testing.assert_allclose(truth['gt_bboxes_3d'].dims[0], [.5, .6, .9], rtol=1e-6)
    assert truth['gt_bboxes_3d'].yaw[0] == pytest.approx(-.3)
    assert str(config.model.proposals).count('sunrgbd') == 2


# --- configs and metric -----------------------------------------------------------------------------------------------

@pytest.mark.parametrize('name', ['ov3det_scannet20', 'ov3det_sun20'])
def test_the_configs_follow_the_protocol(name):
    config = Config.fromfile(REPOSITORY / f'configs/scannet/{name}.py')
    model = config.model
    assert (model.objectness_threshold, model.max_proposals, model.min_points) == (.05, 128, 5)
    assert model.bbox_head.nms_of_best_class and model.bbox_head.nms_threshold == .25
    assert model.bbox_head.max_detections == 128 * 20, 'every box may have every class'
    assert model.background == 'ov3det' and len(BACKGROUNDS['ov3det']) == 6
    assert model.classifier.zero_shot_head.templates == 'depth'
    assert [metric.type for metric in config.test_evaluator][0] == 'OpenVocabIndoorMetric'


def test_average_precision_of_turned_boxes_by_hand():
    config = Config.fromfile(REPOSITORY / 'configs/scannet/ov3det_scannet20.py')
    metric = METRICS.build(config.test_evaluator[0])
    metric.dataset_meta = dict(classes=tuple(OV3DET_NYU40_IDS), box_type_3d='Depth')

    def made(*rows):
        return DepthInstance3DBoxes(torch.tensor(rows, dtype=torch.float32))

    # A bed of 2 x 1 m, found turned by a right angle: IoU 1 / 3. A unit square turned by 45 degrees shares an octagon
    # of 2 (sqrt(2) - 1) = 0.83 with it: IoU 0.71. Of two such chairs the second is found after a wrong box.
    truth = made([0, 0, 0, 2, 1, 1, .4], [5, 0, 0, 1, 1, 1, 0], [9, 0, 0, 1, 1, 1, .2])
    found = made([0, 0, 0, 2, 1, 1, .4 + np.pi / 2], [5, 0, 0, 1, 1, 1, np.pi / 4], [7, 0, 0, 1, 1, 1, 0],
                 [9, 0, 0, 1, 1, 1, .2])
    bed, chair = (list(OV3DET_NYU40_IDS).index(name) for name in ('bed', 'chair'))
    metric.process({}, [dict(
        eval_ann_info=dict(gt_bboxes_3d=truth, gt_labels_3d=np.array([bed, chair, chair])),
        pred_instances_3d=dict(bboxes_3d=found, scores_3d=torch.tensor([.9, .8, .7, .6]),
                               labels_3d=torch.tensor([bed, chair, chair, chair])))])
    metrics = metric.compute_metrics(metric.results)
    assert (metrics['bed_AP_0.25'], metrics['bed_AP_0.50']) == (pytest.approx(1), 0)
    assert metrics['chair_AP_0.50'] == pytest.approx(.5 * 1 + .5 * 2 / 3)
    assert metrics['mAP_0.25'] == pytest.approx((1 + 5 / 6) / 2)


@pytest.mark.parametrize('options', [
    ['--templates', CODA_PROMPT], ['--cfg-options', f'model.classifier.zero_shot_head.templates={CODA_PROMPT}']])
def test_codas_prompt_takes_the_place_of_the_depth_prompts(options):
    parser = argparse.ArgumentParser()
    parser.add_argument('config')
    add_common_options(parser)
    add_templates_option(parser)
    config = load_config(parser.parse_args([str(REPOSITORY / 'configs/scannet/coda_scannet60.py'), *options]))
    assert resolve_templates(config.model.classifier.zero_shot_head.templates) == (CODA_PROMPT, )
