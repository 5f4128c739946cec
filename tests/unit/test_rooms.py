"""Procedural rooms, as the project writes them and as mmdet3d reads them."""
import pickle

import numpy as np
import pytest
import torch
from mmdet3d.datasets import ScanNetDataset
from mmdet3d.evaluation import IndoorMetric
from mmdet3d.registry import DATASETS
from mmengine.config import Config
from mmengine.registry import init_default_scope

import opendlign_mm.datasets.scene_datasets  # noqa: F401
from helpers.tool_modules import run_tool
from opendlign_mm.datasets.class_names import SCANNET_CLASSES, SCANNET_NYU40_IDS
from opendlign_mm.datasets.procedural.room_layout import lay_out_room
from opendlign_mm.datasets.procedural.room_writer import write_rooms
from opendlign_mm.datasets.procedural.rooms import ROOM_CLASSES, make_room
from opendlign_mm.datasets.procedural.scan_simulation import scan, visible_from

READ = [dict(type='LoadPointsFromFile', coord_type='DEPTH', load_dim=6, use_dim=[0, 1, 2, 3, 4, 5]),
        dict(type='GlobalAlignment', rotation_axis=2), dict(type='Pack3DDetInputs', keys=['points'])]


@pytest.fixture(scope='module')
def data_root(tmp_path_factory):
    root = tmp_path_factory.mktemp('rooms')
    write_rooms(root, num_train=1, num_val=2, num_points=20000)
    return root


@pytest.fixture(autouse=True)
def scope():
    init_default_scope('mmdet3d')


def dataset(root, split='val', cls='ScanNetDataset', pipeline=READ, **options):
    options = dict(dict(test_mode=True, box_type_3d='Depth', data_prefix=dict(
        pts='points', pts_instance_mask='instance_mask', pts_semantic_mask='semantic_mask')), **options)
    return DATASETS.build(dict(type=cls, data_root=str(root), ann_file=f'scannet_infos_{split}.pkl', pipeline=pipeline,
                               **options))


def test_classes_are_those_of_scannet():
    assert SCANNET_CLASSES == ScanNetDataset.METAINFO['classes']
    assert SCANNET_NYU40_IDS == ScanNetDataset.METAINFO['seg_valid_class_ids']
    assert set(ROOM_CLASSES) < set(SCANNET_CLASSES)


def test_mmdet3d_reads_points_boxes_and_alignment(data_root):
    rooms = dataset(data_root)
    assert len(rooms) == 2
    for index in range(2):
        item = rooms[index]
        points, truth = item['inputs']['points'], item['data_samples'].eval_ann_info
        assert points.shape[1] == 6 and 5000 < len(points) <= 20000 and points.dtype == torch.float32
        assert 0 <= points[:, 3:].min() and 100 < points[:, 3:].max() <= 255
        boxes = truth['gt_bboxes_3d']
        assert len(boxes) >= 3 and {SCANNET_CLASSES[label] for label in truth['gt_labels_3d']} <= set(ROOM_CLASSES)
        # Aligned: most points of the walls lie on the sides of the room, and boxes fit tightly around points.
        mask = np.fromfile(data_root / 'instance_mask' / f'room_val_{index:04d}.bin', dtype=np.int64)
        semantic = np.fromfile(data_root / 'semantic_mask' / f'room_val_{index:04d}.bin', dtype=np.int64)
        xyz = points[:, :3].numpy()
        walls = xyz[semantic == 1]
        low, high = np.percentile(walls, [1, 99], axis=0)
        to_side = np.abs(np.concatenate([walls[:, :2] - low[:2], walls[:, :2] - high[:2]], axis=1)).min(axis=1)
        assert np.median(to_side) < 0.05
        for box, center, label in zip(boxes.tensor, boxes.gravity_center, truth['gt_labels_3d']):
            lower, upper = (center - box[3:6] / 2).numpy() - 1e-3, (center + box[3:6] / 2).numpy() + 1e-3
            inside = ((xyz >= lower) & (xyz <= upper)).all(axis=1)
            own = inside & (semantic == SCANNET_NYU40_IDS[label])
            instance = np.bincount(mask[own]).argmax()
            assert instance > 0 and (inside[mask == instance]).all()
            assert np.allclose(np.ptp(xyz[mask == instance], axis=0), box[3:6], atol=1e-2)


def test_scans_are_rotated_and_shifted(data_root):
    info = pickle.loads((data_root / 'scannet_infos_val.pkl').read_bytes())
    for record in info['data_list']:
        matrix = np.array(record['axis_align_matrix'])
        assert matrix.shape == (4, 4) and np.allclose(matrix[:3, :3] @ matrix[:3, :3].T, np.eye(3))
        assert abs(matrix[0, 1]) > 0.1 and np.abs(matrix[:3, 3]).max() > 0.1


def test_mmdet3d_training_pipeline_with_masks(data_root):
    """The pipeline of mmdet3d's own VoteNet config for ScanNet."""
    config = Config.fromfile(_mmdet3d_config('_base_/datasets/scannet-3d.py'))
    rooms = dataset(data_root, 'train', pipeline=config.train_pipeline, test_mode=False, filter_empty_gt=False,
                    metainfo=config.metainfo)
    item = rooms[0]
    sample = item['data_samples']
    assert item['inputs']['points'].shape == (40000, 4)
    assert sample.gt_pts_seg.pts_instance_mask.shape == sample.gt_pts_seg.pts_semantic_mask.shape == (40000, )
    assert set(sample.gt_pts_seg.pts_semantic_mask.unique().tolist()) <= set(range(19))
    assert len(sample.gt_instances_3d.bboxes_3d) == len(sample.gt_instances_3d.labels_3d) >= 3


def _mmdet3d_config(path):
    from pathlib import Path

    import mmdet3d
    return str(Path(mmdet3d.__file__).parent / '.mim' / 'configs' / path)


def test_perfect_predictions_get_full_marks_from_indoor_metric(data_root):
    rooms = dataset(data_root)
    metric = IndoorMetric()
    metric.dataset_meta = rooms.metainfo
    for item in rooms:
        truth = item['data_samples'].eval_ann_info
        labels = torch.from_numpy(truth['gt_labels_3d'])
        metric.process({}, [dict(eval_ann_info=truth, pred_instances_3d=dict(
            bboxes_3d=truth['gt_bboxes_3d'], labels_3d=labels, scores_3d=torch.ones(len(labels))))])
    results = metric.evaluate(len(rooms))
    assert results['mAP_0.25'] == results['mAP_0.50'] == pytest.approx(1.)


def test_open_vocab_dataset_takes_the_classes_of_the_info_file(data_root):
    rooms = dataset(data_root, cls='OpenVocabScanNetDataset')
    assert tuple(rooms.metainfo['classes']) == ROOM_CLASSES
    plain = dataset(data_root)
    for room, reference in zip(rooms, plain):
        names = [ROOM_CLASSES[label] for label in room['data_samples'].eval_ann_info['gt_labels_3d']]
        assert names == [SCANNET_CLASSES[label] for label in reference['data_samples'].eval_ann_info['gt_labels_3d']]
    few = dataset(data_root, cls='OpenVocabScanNetDataset', metainfo=dict(classes=('door', )))
    labels = few[0]['data_samples'].eval_ann_info['gt_labels_3d']
    assert set(labels) <= {0, -1} and (labels == 0).any()


def test_open_vocab_dataset_errors(data_root, tmp_path):
    with pytest.raises(FileNotFoundError, match='make_rooms.py'):
        dataset(tmp_path / 'nowhere', cls='OpenVocabScanNetDataset')
    with pytest.raises(ValueError, match=r"\['spaceship'\]; those of OpenVocabScanNetDataset are cabinet"):
        dataset(data_root, cls='OpenVocabScanNetDataset', metainfo=dict(classes=('door', 'spaceship')))
    with pytest.raises(ValueError, match='none'):
        dataset(data_root, cls='OpenVocabScanNetDataset', metainfo=dict(classes=()))


def test_rooms_follow_the_seed_and_differ_between_splits(data_root, tmp_path):
    write_rooms(tmp_path / 'again', num_train=1, num_val=2, num_points=20000)
    for path in sorted(data_root.rglob('*.*')):
        assert (tmp_path / 'again' / path.relative_to(data_root)).read_bytes() == path.read_bytes()
    contents = {path.read_bytes() for path in (data_root / 'points').iterdir()}
    assert len(contents) == 3
    write_rooms(tmp_path / 'other', num_val=1, num_points=20000, seed=1)
    assert (tmp_path / 'other/points/room_val_0000.bin').read_bytes() not in contents
    assert not list(tmp_path.rglob('.*'))


def test_write_rooms_refuses_no_rooms(tmp_path):
    for counts in (dict(num_val=0), dict(num_val=-1), dict(num_train=-1)):
        with pytest.raises(ValueError, match='num_train and num_val'):
            write_rooms(tmp_path, **counts)
    with pytest.raises(ValueError, match='num_points'):
        make_room(np.random.default_rng(0), num_points=10)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize('seed', range(4))
def test_objects_stay_in_the_room_and_out_of_each_other(seed):
    layout = lay_out_room(np.random.default_rng(seed), points_per_square_meter=300)
    assert len(layout.objects) >= 4 and layout.objects[0].category == 'door'
    extents = [(placed.points.min(axis=0), placed.points.max(axis=0)) for placed in layout.objects]
    for low, high in extents:
        assert (low > -0.02).all() and (high < np.array([layout.width, layout.depth, layout.height + 0.6]) + 0.02).all()
    on_the_floor = [extent for placed, extent in zip(layout.objects, extents)
                    if placed.category not in ('bottle', 'cup', 'monitor')]
    for index, (low, high) in enumerate(on_the_floor):
        for other_low, other_high in on_the_floor[:index]:
            assert not ((low < other_high) & (high > other_low)).all()


def test_a_camera_does_not_see_through_a_wall():
    rng = np.random.default_rng(0)
    near = np.stack([np.full(40000, 2.), *rng.uniform(-1, 1, (2, 40000))], axis=1)
    behind = np.stack([np.full(2000, 3.), *rng.uniform(-1, 1, (2, 2000))], axis=1)
    next_to_it = np.stack([np.full(2000, 3.), rng.uniform(2.5, 3.5, 2000), rng.uniform(-1, 1, 2000)], axis=1)
    seen = visible_from(np.concatenate([near, behind, next_to_it]), np.zeros(3))
    assert seen[:40000].mean() > 0.95 and seen[40000:42000].mean() < 0.02 and seen[42000:].all()


def test_a_scan_has_noise_holes_and_uneven_density():
    rng = np.random.default_rng(0)
    wall = np.stack([rng.uniform(0, 8, 60000), np.full(60000, 2.), rng.uniform(0, 2, 60000)], axis=1)
    chosen, points = scan(wall, np.array([[1., 0., 1.]]), 10000, rng)
    assert len(np.unique(chosen)) == len(points) == 10000
    offsets = points - wall[chosen]
    assert 0.002 < offsets.std() < 0.03
    assert (points[:, 0] < 2).sum() > 1.5 * (points[:, 0] > 6).sum()
    grid, *_ = np.histogram2d(points[:, 0], points[:, 2], bins=[np.arange(0, 3, 0.1), np.arange(0, 2, 0.1)])
    assert (grid == 0).any() and np.median(grid) > 3


def test_tool_writes_rooms(tmp_path):
    result = run_tool('make_rooms', '--out', tmp_path / 'data', '--num-val', 1, '--num-points', 5000)
    assert result.returncode == 0, result.stderr
    assert (tmp_path / 'data' / 'scannet_infos_val.pkl').is_file()
    assert (tmp_path / 'data' / 'points' / 'room_val_0000.bin').stat().st_size == 5000 * 24
