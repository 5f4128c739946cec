"""Folders that tools/project_depth.py takes: layouts of ShapeNetCore, up axes, and the doubt about a guessed one."""
import contextlib
import json

import numpy as np
import pytest
import trimesh
from mmdet3d.registry import DATASETS
from mmengine.registry import init_default_scope

import opendlign_mm  # noqa: F401
from helpers.tool_modules import load_tool
from opendlign_mm.datasets.procedural import CATEGORIES, sample_shape
from opendlign_mm.datasets.store import ShapeStore
from opendlign_mm.generation.depth_stage import project_depth
from opendlign_mm.generation.shape_sources import doubt_about_up_axis, shapes_to_project

TAXONOMY = [dict(synsetId='02691156', name='airplane,aeroplane,plane', children=[]),
            dict(synsetId='02747177', name='ashcan,trash can', children=[]), dict(synsetId='03001627', name='chair')]


@pytest.fixture(autouse=True)
def scope():
    init_default_scope('mmdet3d')


def write_shapenet(root, version):
    """Two synsets with boxes of 1 x 4 x 2, which are tall along y, and the taxonomy."""
    box = trimesh.creation.box((1, 4, 2))
    for synset, model in (('02691156', 'a1'), ('02691156', 'b2'), ('03001627', 'c3')):
        path = root / synset / model / ('models/model_normalized.obj' if version == 2 else 'model.obj')
        path.parent.mkdir(parents=True)
        box.export(path)
        if version == 2:  # other files of the layout
            (path.parent / 'model_normalized.solid.binvox').write_bytes(b'binvox')
            (path.parent / 'model_normalized.json').write_text('{}')
            (root / synset / model / 'images').mkdir()
    (root / 'taxonomy.json').write_text(json.dumps(TAXONOMY))
    return root


def build(config):
    return DATASETS.build(dict(config, test_mode=True))


@pytest.mark.parametrize('version', [1, 2])
def test_shapenet_core_is_y_up_and_named_by_its_taxonomy(tmp_path, version):
    shapes = build(shapes_to_project(str(write_shapenet(tmp_path / 'ShapeNetCore', version)), num_points=2000))
    assert shapes.metainfo['classes'] == ('airplane', 'chair')
    assert [(item['sample_id'], item['category'], item['gt_label']) for item in shapes] == [
        ('shapenet/02691156-a1', 'airplane', 0), ('shapenet/02691156-b2', 'airplane', 0),
        ('shapenet/03001627-c3', 'chair', 1)]
    extent = np.ptp(shapes[0]['points'].numpy(), axis=0)
    np.testing.assert_allclose(extent, (1, 2, 4), atol=.02)  # z up


def test_texts_and_views_of_shapenet_core(tmp_path):
    source = shapes_to_project(str(write_shapenet(tmp_path / 'ShapeNetCore', 2)), num_points=2000)
    project_depth(source, tmp_path / 'depth', 2, dict(resolution=32, depth_bins=8))
    store = ShapeStore(tmp_path / 'depth')
    assert [row['text'] for row in store.rows(0)] == ['airplane', 'airplane', 'chair']
    views = next(iter(store.read(0))).depth_views()
    rows, columns = (views < 255).any(2).sum(1), (views < 255).any(1).sum(1)
    assert (rows > 1.4 * columns).all()


def test_shapenet_core_without_its_taxonomy_or_a_mesh(tmp_path):
    root = write_shapenet(tmp_path / 'ShapeNetCore', 2)
    (root / '02691156/a1/models/model_normalized.obj').unlink()
    with pytest.raises(FileNotFoundError, match='1 of 3 objects have no file.*02691156/a1/models/model_normalized.obj'):
        build(shapes_to_project(str(root)))
    (root / 'taxonomy.json').write_text(json.dumps(TAXONOMY[:1]))
    with pytest.raises(ValueError, match='taxonomy.json does not name the synsets 03001627'):
        build(shapes_to_project(str(root)))
    (root / 'taxonomy.json').write_text('{"airplane": "02691156"}')
    with pytest.raises(ValueError, match='taxonomy.json must be a list'):
        build(shapes_to_project(str(root)))
    (root / 'taxonomy.json').unlink()
    with pytest.raises(FileNotFoundError, match='taxonomy.json does not exist.*shapenet.org'):
        build(shapes_to_project(str(root)))


def write_kinds(root, up_axis, kinds=CATEGORIES, number=2):
    for kind in kinds:
        (root / kind).mkdir(parents=True)
        for seed in range(number):
            points = sample_shape(kind, np.random.default_rng(seed), 1500).points
            if up_axis == 'y':  # y becomes -z, z becomes y
                points = np.stack([points[:, 0], points[:, 2], -points[:, 1]], axis=1)
            np.save(root / kind / f'{seed}.npy', points)
    return str(root)


def test_the_up_axis_can_be_chosen(tmp_path):
    root = write_kinds(tmp_path / 'shapes', 'y', ('table', ))
    tall = {axis: np.ptp(build(shapes_to_project(root, up_axis=axis))[0]['points'].numpy(), axis=0)
            for axis in ('y', 'z', None)}
    np.testing.assert_array_equal(tall['z'], tall[None])
    np.testing.assert_allclose(tall['y'], tall['z'][[0, 2, 1]])
    for source in ('built-in:2', 'config.py'):
        with pytest.raises(ValueError, match='--up-axis is for folders'):
            shapes_to_project(source, up_axis='y')


def test_lying_objects_raise_a_doubt_where_the_axis_is_a_guess(tmp_path):
    lying, standing = (write_kinds(tmp_path / axis, axis) for axis in ('y', 'z'))
    assert '--up-axis y' in doubt_about_up_axis(build(shapes_to_project(lying)))
    assert doubt_about_up_axis(build(shapes_to_project(standing))) is None
    # Whoever chooses is not asked, nor are sources that say it themselves.
    for up_axis in ('y', 'z'):
        assert doubt_about_up_axis(build(shapes_to_project(lying, up_axis=up_axis))) is None
    assert doubt_about_up_axis(build(dict(shapes_to_project(lying), up_axis='z'))) is None
    assert doubt_about_up_axis(build(shapes_to_project(str(write_shapenet(tmp_path / 'core', 1))))) is None


@pytest.mark.parametrize('kind', ['chair', 'table', 'bed', 'lamp', 'bottle', 'bathtub'])
def test_the_doubt_on_single_kinds(tmp_path, kind):
    assert doubt_about_up_axis(build(shapes_to_project(write_kinds(tmp_path / 'y', 'y', (kind, ), 3))))
    assert not doubt_about_up_axis(build(shapes_to_project(write_kinds(tmp_path / 'z', 'z', (kind, ), 3))))


def test_the_tool_prints_the_doubt_once_and_survives_unreadable_files(tmp_path, capsys, monkeypatch):
    root = write_kinds(tmp_path / 'shapes', 'y', ('table', 'lamp'))
    (tmp_path / 'shapes/lamp/0.npy').write_bytes(b'')
    tool, printed = load_tool('project_depth'), []
    for options in ([], [], ['--up-axis', 'y']):
        out = tmp_path / f'depth{len(options)}'
        monkeypatch.setattr('sys.argv', ['project_depth.py', root, str(out), '--views', '1', '--resolution', '16',
                                         '--projection', 'depth_bins=8', '--workers', '0', *options])
        with contextlib.suppress(SystemExit):  # one object is unreadable
            tool.main()
        printed.append(capsys.readouterr().out)
    assert 'lie on their back' in printed[0]
    assert 'lie on their back' not in printed[1] + printed[2]
