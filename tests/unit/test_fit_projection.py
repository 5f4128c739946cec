"""Fitting the projection to given views: known constants are found, and views of another projection do not fit."""
import json

import numpy as np
import pytest
import torch
from mmdet3d.registry import DATASETS
from mmengine.config import Config
from mmengine.registry import init_default_scope

import opendlign_mm  # noqa: F401
from helpers.tool_modules import load_tool
from opendlign_mm.apis.fit_projection import fit_projection, pairs_by_name
from opendlign_mm.apis.view_matching import UP_ROTATIONS, azimuths_of, find_poses, turned_up
from opendlign_mm.datasets.procedural import sample_shape
from opendlign_mm.point_files.shape_pose import z_up
from opendlign_mm.projection import ContourAwareProjection, RealisticProjection

TRUTH = dict(elevation=27.3, object_ratio=.71, depth_bias=.33, depth_bins=24, sigma_space=1.2, sigma_intensity=.13)
ANGLES = (200., 164., 128., 92.)  # clockwise, in steps that are not on the grid
RESOLUTION = 32


@pytest.fixture(scope='module')
def clouds():
    """Return a chair and a desk, each with a block on one side, so that they are not symmetric."""
    generator = np.random.default_rng(3)
    shapes = []
    for name, side in (('chair', .4), ('desk', -.4)):
        points = sample_shape(name, generator, 700).points
        block = generator.uniform((-.1, -.1, 0), (.1, .3, .5), (200, 3)) + (side, 0, 0)
        shapes.append(torch.from_numpy(np.concatenate([points, block])).float())
    return shapes


@pytest.fixture(scope='module')
def views(clouds):
    return ContourAwareProjection(RESOLUTION, view_angles=ANGLES, **TRUTH)(clouds)


@pytest.fixture(scope='module')
def fitted(clouds, views):
    return fit_projection(clouds[:1], views[:1])


def test_the_constants_of_our_own_views_are_found(fitted):
    found = fitted.projection
    assert fitted.fits and fitted.verdict().startswith('fits: ')
    assert abs(found.elevation - TRUTH['elevation']) < 1
    assert abs(found.object_ratio - TRUTH['object_ratio']) < .01
    assert abs(found.depth_bias - TRUTH['depth_bias']) < .01
    assert abs(found.depth_bins - TRUTH['depth_bins']) <= 1
    assert abs(found.sigma_space - TRUTH['sigma_space']) < .2
    assert abs(found.sigma_intensity - TRUTH['sigma_intensity']) < .02
    np.testing.assert_allclose(np.array(found.view_angles) % 360, ANGLES, atol=1)


def test_the_config_that_is_written_gives_the_fitted_views(fitted, clouds, views, tmp_path):
    fitted.save(tmp_path / 'out', views[:1], ['chair'])
    config = Config.fromfile(tmp_path / 'out/projection.py').projection.to_dict()
    assert config.pop('type') == 'ContourAwareProjection'
    again = ContourAwareProjection(**config)(clouds[:1])
    assert (again - fitted.views).abs().mean() < 1e-3
    facts = json.loads((tmp_path / 'out/fit.json').read_text())
    assert facts['fits'] is True and len(facts['errors']['chair']) == 4
    assert (tmp_path / 'out/comparison.png').stat().st_size > 5000
    assert len(fitted.table().splitlines()) == 1 + len(ANGLES) + 1 + 7


def test_views_of_another_projection_do_not_fit(clouds):
    foreign = RealisticProjection(RESOLUTION, view_angles=ANGLES[:2], elevation=20., object_ratio=.7)(clouds[:1])
    fitted = fit_projection(clouds[:1], foreign)
    assert not fitted.fits and fitted.verdict().startswith('does not fit')
    assert fitted.config().startswith('# This projection does not fit')
    assert fitted.errors.mean() > 2 * max(fitted.tolerance, fitted.sampling_error)


@pytest.mark.parametrize('up', UP_ROTATIONS)
def test_each_up_axis_is_turned_up_by_a_rotation(up):
    axis = torch.zeros(3)
    axis['xyz'.index(up[-1])] = -1. if up[0] == '-' else 1.
    assert turned_up(axis[None], up).tolist() == [[0, 0, 1]]
    assert np.linalg.det(UP_ROTATIONS[up]) == pytest.approx(1)


def test_y_is_turned_up_as_where_points_are_loaded():
    points = np.random.default_rng(0).normal(size=(5, 3))
    np.testing.assert_array_equal(turned_up(torch.from_numpy(points), 'y').numpy(), z_up(points, 'y'))


@pytest.mark.parametrize('up', ['y', '-x'])
def test_the_up_axis_and_the_order_of_the_views_are_found(up, clouds, views):
    lying = [cloud @ cloud.new_tensor(UP_ROTATIONS[up]) for cloud in clouds]
    pose = find_poses(lying, views)[0]
    assert (pose.up, pose.mirrored, pose.regular) == (up, False, True)
    np.testing.assert_allclose(np.array(pose.angles) % 360, ANGLES, atol=15)
    assert abs(pose.elevation - TRUTH['elevation']) <= 10  # the grid


def test_azimuths_without_an_order_are_each_found_by_itself():
    own = np.array([2, 20, 7, 11])
    distance = np.abs((np.arange(24) - own[:, None] + 12) % 24 - 12)
    angles, regular = azimuths_of(np.exp(-distance.astype(float)))
    assert not regular and angles == (30., 300., 105., 165.)


def test_mirrored_views_are_told_by_objects_without_symmetry(clouds, views):
    similarity = [pose.similarity for pose in find_poses(clouds, views.flip(-1))]
    assert similarity[1] > similarity[0] + .02


def test_a_white_view_and_views_of_other_objects_are_named(clouds, views):
    with pytest.raises(ValueError, match='a depth view is white'):
        fit_projection(clouds, torch.ones_like(views))
    with pytest.raises(ValueError, match=r'1 objects need gray square views .* got \(2, 4, 32, 32\)'):
        fit_projection(clouds[:1], views)


def write_pairs(root, clouds, views, categories=('chair', 'desk')):
    """Write points of two objects of one name in two classes, and their views in the layout of the release."""
    (root / 'views').mkdir(parents=True)
    for cloud, view, category in zip(clouds, views, categories, strict=True):
        (root / 'points' / category).mkdir(parents=True)
        np.save(root / f'points/{category}/0001.npy', cloud.numpy())
        gray = (view.numpy()[..., None].repeat(3, -1) * 255).round().astype(np.uint8)
        np.save(root / f'views/0001+{category}_dm.npy', gray)


def test_the_tool_writes_the_fit_of_released_files(tmp_path, clouds, views, fitted, monkeypatch, capsys):
    write_pairs(tmp_path, clouds, views)
    given = {}

    def fit(clouds, views, on_evaluation):
        given.update(clouds=clouds, views=views)
        on_evaluation(.1)
        return fitted

    monkeypatch.setattr('opendlign_mm.apis.fit_projection.fit_projection', fit)
    monkeypatch.setattr('sys.argv', ['fit_projection.py', *(str(tmp_path / name) for name in ('points', 'views')),
                                     '--out', str(tmp_path / 'fit'), '--objects', '1'])
    with pytest.raises(SystemExit) as end:
        load_tool('fit_projection').main()
    assert end.value.code == 0
    assert len(given['clouds']) == 1
    assert (given['views'] - views[:1]).abs().max() < .003
    assert 'depth_bins=24' in capsys.readouterr().out
    assert sorted(path.name for path in (tmp_path / 'fit').iterdir()) == ['comparison.png', 'fit.json', 'projection.py']


def test_objects_and_views_whose_names_disagree_are_refused(tmp_path, clouds, views):
    init_default_scope('mmdet3d')
    write_pairs(tmp_path, clouds, views)
    shapes = DATASETS.build(dict(type='ShapeFolder', data_root=str(tmp_path / 'points'), pipeline=[]))
    (tmp_path / 'empty').mkdir()
    with pytest.raises(FileNotFoundError, match='has no file .*_dm.npy'):
        pairs_by_name(shapes, tmp_path / 'empty')
    (tmp_path / 'empty/a_dm.npy').touch()
    with pytest.raises(ValueError, match='none of the 2 objects, such as points/chair/0001.npy'):
        pairs_by_name(shapes, tmp_path / 'empty')
    (tmp_path / 'empty/0001_dm.npy').touch()
    with pytest.raises(ValueError, match='both belong to .*0001_dm.npy'):
        pairs_by_name(shapes, tmp_path / 'empty')
    assert [file.name for _, file in pairs_by_name(shapes, tmp_path / 'views')] == ['0001+chair_dm.npy',
                                                                                    '0001+desk_dm.npy']
