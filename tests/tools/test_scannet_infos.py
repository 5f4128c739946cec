"""ScanNet's own files -> info file -> dataset -> detector and metrics."""
import json

import numpy as np
import pytest
import torch
from mmdet3d.registry import DATASETS
from mmengine.config import Config
from mmengine.registry import init_default_scope

from helpers.scannet_fixtures import CATEGORIES, write_label_map, write_scan
from helpers.tool_modules import REPOSITORY, run_tool
from opendlign_mm.datasets.class_names import CLASS_SETS, OV3DET_NYU40_IDS, vocabulary_of
from opendlign_mm.datasets.scannet_scans import read_label_map, read_scan


def make_infos(*arguments):
    return run_tool('make_scannet_infos', *arguments)


@pytest.fixture
def scans(tmp_path):
    write_label_map(tmp_path / 'labels.tsv')
    write_scan(tmp_path / 'scans' / 'scene0001_00')
    write_scan(tmp_path / 'scans' / 'scene0002_00', seed=1, align=False)
    (tmp_path / 'val.txt').write_text('scene0001_00\nscene0002_00\n')
    return tmp_path


def test_class_sets_are_those_of_the_benchmarks(shared_dir):
    table = json.loads((shared_dir / 'paper/results.json').read_text())['table9_scannet20_ov3det_setting']
    assert list(OV3DET_NYU40_IDS) == table['columns'][1:]
    assert len(set(OV3DET_NYU40_IDS.values())) == 20 and len(CLASS_SETS['scannet18']) == 18
    shared = set(OV3DET_NYU40_IDS) & set(CLASS_SETS['scannet18'])
    assert len(shared) == 14 and all(OV3DET_NYU40_IDS[name] == CLASS_SETS['scannet18'][name] for name in shared)
    assert vocabulary_of(OV3DET_NYU40_IDS) == tuple(OV3DET_NYU40_IDS), 'no name needs another wording'


@pytest.mark.parametrize('mesh', ['coarse', 'fine'])
def test_boxes_of_a_scan(tmp_path, mesh):
    points, boxes = write_scan(tmp_path / 'scene0001_00')
    write_label_map(tmp_path / 'labels.tsv')
    label_map = read_label_map(tmp_path / 'labels.tsv')
    assert label_map == dict(CATEGORIES, wall=1)
    scan = read_scan(tmp_path / 'scene0001_00', mesh)
    np.testing.assert_allclose(scan.points[:, :3], points[:, :3])
    np.testing.assert_allclose(scan.points[:, 3:], points[:, 3:].clip(0, 255).astype(int))
    found, labels = scan.boxes(OV3DET_NYU40_IDS, label_map)
    np.testing.assert_allclose(found, boxes, atol=1e-5)
    assert [list(OV3DET_NYU40_IDS)[label] for label in labels] == ['chair', 'table', 'refrigerator', 'nightstand']
    found, labels = scan.boxes(CLASS_SETS['scannet18'], label_map)  # nightstands are none of the 18
    assert len(found) == 3 and [list(CLASS_SETS['scannet18'])[label] for label in labels][2] == 'refrigerator'


def test_tool_makes_what_the_config_reads(scans):
    out = scans / 'out'
    result = make_infos(scans / 'scans', scans / 'labels.tsv', '--split', scans / 'val.txt', '--out', out)
    assert result.returncode == 0, result.stderr
    assert '2 scans, 8 boxes' in result.stdout and '2 nightstand' in result.stdout
    init_default_scope('mmdet3d')
    config = Config.fromfile(REPOSITORY / 'configs/opendlign_h14_scannet20.py')
    config.test_dataloader.dataset.data_root = str(out)
    dataset = DATASETS.build(config.test_dataloader.dataset)
    assert dataset.metainfo['classes'] == tuple(OV3DET_NYU40_IDS) and len(dataset) == 2
    from opendlign_mm.box_ops.points_in_boxes import points_in_boxes
    for item in dataset:
        annotations = item['data_samples'].eval_ann_info
        assert [dataset.metainfo['classes'][label] for label in annotations['gt_labels_3d']] == [
            'chair', 'table', 'refrigerator', 'nightstand']
        points = item['inputs']['points']
        # In the frame of the walls each box holds the 700 points of its object.
        inside = points_in_boxes(points, annotations['gt_bboxes_3d'])
        assert all(inside[number, number * 700:(number + 1) * 700].all() for number in range(4))
        assert points[:, 3:].max() > 100 and torch.equal(points[:, 3:], points[:, 3:].round())


def test_tool_skips_broken_scans_and_names_them(scans):
    (scans / 'scans/scene0001_00/scene0001_00.aggregation.json').write_text('{"segGroups": [')
    result = make_infos(scans / 'scans', scans / 'labels.tsv', '--out', scans / 'out', '--classes', 'scannet18')
    assert result.returncode == 0, result.stderr
    assert '1 of 2 scans are skipped' in result.stdout and 'scene0001_00.aggregation.json' in result.stdout
    assert (scans / 'out/scannet_infos_val.pkl').is_file()
    (scans / 'scans/scene0002_00/scene0002_00_vh_clean_2.ply').write_bytes(b'ply\nformat')
    result = make_infos(scans / 'scans', scans / 'labels.tsv', '--out', scans / 'none')
    assert result.returncode == 2 and 'Traceback' not in result.stderr
    assert 'none of 2 scans is readable' in result.stderr
    assert not list((scans / 'none').glob('*.pkl'))
    (scans / 'labels.tsv').write_text('a,b\n')
    result = make_infos(scans / 'scans', scans / 'labels.tsv', '--out', scans / 'none')
    assert result.returncode == 2 and 'nyu40id' in result.stderr


@pytest.mark.parametrize('name, content, error', [
    ('_vh_clean_2.0.010000.segs.json', '{"segIndices": [1, 2]}', 'not of the same mesh'),
    ('_vh_clean_2.ply', 'ply\nformat ascii 1.0\nelement vertex 1\nproperty float x\nend_header\n1\n', 'colored'),
    ('.txt', 'axisAlignment = 1 2 3', 'axisAlignment'), ('_vh_clean_2.ply', None, 'does not exist')])
def test_broken_files_are_named(tmp_path, name, content, error):
    write_scan(tmp_path / 'scene0001_00')
    path = tmp_path / 'scene0001_00' / f'scene0001_00{name}'
    path.unlink() if content is None else path.write_text(content)
    with pytest.raises((ValueError, FileNotFoundError), match=f'{path.name}.*{error}'):
        read_scan(tmp_path / 'scene0001_00')
