"""Protocols of CoDA and ScanNet200: files, classes, suppression, and average precision computed by hand."""
import json

import numpy as np
import pytest
import torch
from mmdet3d.registry import DATASETS, METRICS
from mmdet3d.structures import DepthInstance3DBoxes
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.structures import InstanceData

import opendlign_mm.evaluation.class_groups  # noqa: F401
from helpers.scannet_fixtures import CATEGORIES, write_scan
from helpers.tool_modules import REPOSITORY, load_tool
from opendlign_mm.datasets.coda_frames import read_frame
from opendlign_mm.datasets.detection_protocols import FRAME_PROTOCOLS, SUN20, scannet200_classes, scannet200_groups
from opendlign_mm.detection import OpenVocabBBoxHead

HALF_TURN = np.pi / 6  # of the box in the frames


def write_frames(folder, protocol, count=2):
    """Write frames with a chair, a novel object, which is turned, and one outside the protocol."""
    folder.mkdir(parents=True)
    generator = np.random.default_rng(0)
    novel = 6 if protocol == 'scannet60' else 10  # couch, garbage bin
    chair = 2 if protocol == 'scannet60' else 0
    boxes = np.array([[1, 2, .5, .25, .3, .45, 0, chair], [3, 0, .4, 1., .5, .4, HALF_TURN, novel],
                      [0, 0, 0, 1, 1, 1, 0, 9999]])
    for number in range(count):
        points = np.concatenate([generator.uniform(-1, 4, (300, 3)), generator.uniform(0, 1, (300, 3))], 1)
        if protocol == 'scannet60':
            points[:, 3:] *= 255
            np.save(folder / f'scene0000_00_{number}_pc.npy', points)
            np.save(folder / f'scene0000_00_{number}_bbox.npy', boxes if number else np.zeros((0, 8)))
        else:
            np.savez(folder / f'{number:06d}_pc.npz', pc=points)
            np.save(folder / f'{number:06d}_bbox.npy', boxes if number else np.zeros((0, 8)))
    return folder


def run(tool, monkeypatch, *arguments):
    monkeypatch.setattr('sys.argv', [f'{tool}.py', *map(str, arguments)])
    load_tool(tool).main()


def test_the_protocols_have_the_classes_of_their_papers():
    scannet, sun = FRAME_PROTOCOLS['scannet60'], FRAME_PROTOCOLS['sun46']
    assert [len(scannet.base), len(scannet.novel), len(sun.base), len(sun.novel)] == [10, 50, 10, 36]
    assert len(set(scannet.classes.values())) == 60 and sorted(sun.classes.values()) == list(range(46))
    ids = list(scannet.novel.values())
    assert ids == sorted(ids) and not set(ids) & set(scannet.base.values()), 'the next 50 ids'
    assert len(SUN20) == len(set(SUN20)) == 20
    names = scannet200_classes()
    assert len(names) == 198 and not {'wall', 'floor'} & set(names)
    assert set(scannet.classes) - {'object'} <= set(names) | {'couch', 'trash can'}


def test_scannet200_is_divided_as_in_its_benchmark():
    groups = scannet200_groups()
    assert {group: len(names) for group, names in groups.items()} == dict(head=64, common=68, tail=66)
    assert sorted(sum(groups.values(), ())) == sorted(scannet200_classes()), 'each class in one group'
    for group, names in dict(head={'chair', 'mailbox', 'object'}, common={'laptop', 'mattress', 'bicycle'},
                             tail={'paper', 'luggage', 'cd case'}).items():
        assert names <= set(groups[group])


@pytest.mark.parametrize('protocol, sign, unit', [('scannet60', 1, 1), ('sun46', -1, 255)])
def test_frames_have_full_sizes_and_counter_clockwise_yaw(tmp_path, protocol, sign, unit):
    folder = write_frames(tmp_path / 'frames', protocol)
    name = 'scene0000_00_1' if protocol == 'scannet60' else '000001'
    points, boxes, labels = read_frame(folder, name, FRAME_PROTOCOLS[protocol])
    np.testing.assert_allclose(boxes, [[1, 2, .5, .5, .6, .9, 0], [3, 0, .4, 2, 1, .8, sign * HALF_TURN]])
    assert labels.tolist() == [0, 10] and points.dtype == np.float32
    assert 200 < points[:, 3:].max() <= 255


@pytest.mark.parametrize('protocol, ann_file', [('scannet60', 'scannet60_infos_val.pkl'),
                                                ('sun46', 'sun46_infos_val.pkl')])
def test_the_tool_makes_what_the_config_reads(tmp_path, protocol, ann_file, monkeypatch, capsys):
    frames = write_frames(tmp_path / 'frames', protocol)
    run('make_coda_infos', monkeypatch, frames, '--protocol', protocol, '--out', tmp_path / 'data', '--max-points', 200)
    assert '2 frames, 1 boxes of 10 base classes, 1 of' in capsys.readouterr().out
    init_default_scope('mmdet3d')
    config = Config.fromfile(REPOSITORY / f'configs/scannet/coda_{protocol}.py')
    assert config.test_dataloader.dataset.ann_file == ann_file
    dataset = DATASETS.build(dict(config.test_dataloader.dataset, data_root=str(tmp_path / 'data')))
    assert dataset.metainfo['classes'] == tuple(FRAME_PROTOCOLS[protocol].classes)
    assert len(dataset) == 2
    empty, item = dataset[0], dataset[1]
    assert item['inputs']['points'].shape == (200, 6)
    truth = item['data_samples'].eval_ann_info
    assert truth['gt_labels_3d'].tolist() == [0, 10] and len(empty['data_samples'].eval_ann_info['gt_labels_3d']) == 0
    # The far corner of the turned box, by hand: center (3, 0), half sizes (1, .5).
    turn = HALF_TURN if protocol == 'scannet60' else -HALF_TURN
    corner = [3 + np.cos(turn) - .5 * np.sin(turn), np.sin(turn) + .5 * np.cos(turn), .8]
    distances = (truth['gt_bboxes_3d'].corners[1] - torch.tensor(corner)).norm(dim=1)
    assert distances.min() < 1e-5


def test_damaged_and_missing_frames_are_named(tmp_path, monkeypatch, capsys):
    frames = write_frames(tmp_path / 'frames', 'scannet60', 3)
    (frames / 'scene0000_00_0_pc.npy').write_bytes(b'\x93NUMPY')
    run('make_coda_infos', monkeypatch, frames, '--protocol', 'scannet60', '--out', tmp_path / 'data')
    assert '1 of 3 frames are skipped' in capsys.readouterr().out
    with pytest.raises(SystemExit):
        run('make_coda_infos', monkeypatch, frames, '--protocol', 'sun46', '--out', tmp_path / 'data')
    assert 'has no file *_pc.npz; give a folder of frames of CoDA' in capsys.readouterr().err


# --- suppression ------------------------------------------------------------------------------------------------------

def test_boxes_are_suppressed_within_their_best_class_and_the_others_keep_every_class():
    proposals = InstanceData()
    proposals.bboxes_3d = DepthInstance3DBoxes(torch.tensor([
        [0., 0, 0, 1, 1, 1, 0], [.1, 0, 0, 1, 1, 1, 0], [.2, 0, 0, 1, 1, 1, 0], [9, 0, 0, 1, 1, 1, 0]]))
    proposals.objectness = torch.tensor([1., .5, .9, .8])
    probabilities = torch.tensor([[.7, .3], [.9, .1], [.4, .6], [.2, .8]])
    # best classes 0, 0, 1, 1 with scores .7, .45, .54, .64: the first suppresses the second, no others overlap
    found = OpenVocabBBoxHead(nms_of_best_class=True).predict(proposals, probabilities)
    rows = sorted(zip(found.proposal_indices.tolist(), found.labels_3d.tolist(), found.scores_3d.tolist(), strict=True))
    assert [row[:2] for row in rows] == [(0, 0), (0, 1), (2, 0), (2, 1), (3, 0), (3, 1)]
    assert [row[2] for row in rows] == pytest.approx([.7, .3, .36, .54, .16, .64])
    empty = OpenVocabBBoxHead(nms_of_best_class=True).predict(proposals[:0], probabilities[:0])
    assert len(empty) == 0
    with pytest.raises(ValueError, match='exclude each other'):
        OpenVocabBBoxHead(nms_of_best_class=True, class_agnostic_nms=True)


# --- metric -----------------------------------------------------------------------------------------------------------

def sample(truth, truth_labels, boxes, scores, labels):
    """Return the record of a scene, with boxes (x, size along x) of one meter otherwise."""
    def made(rows):
        rows = torch.tensor(rows, dtype=torch.float32).reshape(-1, 2)
        tensor = torch.zeros(len(rows), 7)
        tensor[:, 0], tensor[:, 3], tensor[:, 4:6] = rows[:, 0], rows[:, 1], 1
        return DepthInstance3DBoxes(tensor)
    return dict(eval_ann_info=dict(gt_bboxes_3d=made(truth), gt_labels_3d=np.array(truth_labels, dtype=np.int64)),
                pred_instances_3d=dict(bboxes_3d=made(boxes), scores_3d=torch.tensor(scores),
                                       labels_3d=torch.tensor(labels)))


def test_ap_of_base_novel_and_all_classes_by_hand():
    metric = METRICS.build(dict(type='GroupedIndoorMetric', iou_thr=[.25], groups=dict(
        base=['chair', 'night_stand'], novel=['sofa', 'tv'])))
    metric.dataset_meta = dict(classes=('chair', 'night stand', 'sofa', 'tv', 'lamp'), box_type_3d='Depth')
    metric.process({}, [
        # two chairs: a wrong box first, then both: precision 1/2 at recall 1/2 and 2/3 at 1, envelope 2/3
        sample([[0, 1], [5, 1]], [0, 0], [[9, 1], [0, 1], [5, 1]], [.9, .8, .7], [0, 0, 0]),
        # one night stand, found twice: the second is wrong, AP 1; a sofa whose box has an IoU of exactly 1/4, AP 0
        sample([[0, 1], [20, 1]], [1, 2], [[0, 1], [.1, 1], [20, 4]], [.9, .8, .7], [1, 1, 2])])
    found = metric.compute_metrics(metric.results)
    assert found['chair_AP_0.25'] == pytest.approx(2 / 3) and found['night stand_AP_0.25'] == pytest.approx(1)
    assert found['sofa_AP_0.25'] == 0, 'a box counts above the IoU, not at it'
    assert found['base_mAP_0.25'] == pytest.approx((2 / 3 + 1) / 2) and found['novel_mAP_0.25'] == 0
    assert found['mAP_0.25'] == pytest.approx((2 / 3 + 1) / 3), 'classes without annotated boxes do not count'
    assert found['base_mAR_0.25'] == pytest.approx(1)


def test_groups_without_boxes_are_left_out_and_unknown_classes_are_named():
    metric = METRICS.build(dict(type='GroupedIndoorMetric', iou_thr=[.25], groups=dict(a=['chair'], b=['tv'])))
    metric.dataset_meta = dict(classes=('chair', 'tv'), box_type_3d='Depth')
    metric.process({}, [sample([[0, 1]], [0], [[0, 1]], [.9], [0])])
    found = metric.compute_metrics(metric.results)
    assert found['a_mAP_0.25'] == pytest.approx(1) and 'b_mAP_0.25' not in found
    metric.dataset_meta = dict(classes=('chair', 'lamp'), box_type_3d='Depth')
    with pytest.raises(ValueError, match='does not have: tv'):
        metric.compute_metrics(metric.results)
    for wrong in ('scannet18', {}, dict(a=[])):
        with pytest.raises(ValueError, match='groups must'):
            METRICS.build(dict(type='GroupedIndoorMetric', groups=wrong))


# --- ScanNet200 -------------------------------------------------------------------------------------------------------

def test_boxes_of_scannet200s_classes(tmp_path, monkeypatch, capsys):
    _, boxes = write_scan(tmp_path / 'scans/scene0001_00')
    rows = [f'{number}\t{name}\t{name}\t40\tother' for number, name in enumerate(scannet200_classes(), start=1)]
    table = tmp_path / 'labels.tsv'
    table.write_text('\n'.join(['id\traw_category\tcategory\tnyu40id\tnyu40class', *rows]) + '\n')
    arguments = (tmp_path / 'scans', table, '--classes', 'scannet200', '--out', tmp_path / 'data')
    run('make_scannet_infos', monkeypatch, *arguments)
    assert '1 scans, 4 boxes' in capsys.readouterr().out
    init_default_scope('mmdet3d')
    config = Config.fromfile(REPOSITORY / 'configs/scannet/scannet200.py')
    evaluator = config.test_evaluator
    dataset = DATASETS.build(dict(config.test_dataloader.dataset, data_root=str(tmp_path / 'data')))
    truth = dataset[0]['data_samples'].eval_ann_info
    assert [dataset.metainfo['classes'][label] for label in truth['gt_labels_3d']] == list(CATEGORIES)
    np.testing.assert_allclose(truth['gt_bboxes_3d'].gravity_center.numpy(), boxes[:, :3], atol=1e-4)
    metric = METRICS.build(dict(evaluator[0], iou_thr=[.25]))
    metric.dataset_meta = dataset.metainfo
    metric.process({}, [sample([[0, 1], [5, 1]], [0, 65], [[0, 1]], [.9], [0])])  # a chair, and a laptop not found
    found = metric.compute_metrics(metric.results)
    assert (found['head_mAP_0.25'], found['common_mAP_0.25']) == (1, 0) and 'tail_mAP_0.25' not in found
    table.write_text('\n'.join(['id\traw_category\tcategory\tnyu40id\tnyu40class', *rows[1:]]) + '\n')
    with pytest.raises(SystemExit):
        run('make_scannet_infos', monkeypatch, *arguments)
    assert 'does not have 1 classes of ScanNet200: chair' in capsys.readouterr().err


def test_the_configs_follow_the_protocol():
    model = Config.fromfile(REPOSITORY / 'configs/scannet/coda_sun46.py').model
    assert (model.objectness_threshold, model.max_proposals, model.min_points) == (.05, 128, 5)
    assert model.bbox_head.nms_of_best_class and model.bbox_head.nms_threshold == .25
    assert json.dumps(model.to_dict()['proposals']).count('sunrgbd') == 2
