"""The level frame in meters of a scene that is turned or in another unit, and the way back."""
import os
from pathlib import Path

import numpy as np
import open3d
import pytest
from plyfile import PlyData, PlyElement
from scipy.spatial.transform import Rotation

from opendlign_mm.datasets.procedural.rooms import make_room
from opendlign_mm.point_files import PointCloud, find_frame, read_points

ABOUT_X = Rotation.from_euler('x', 37, degrees=True).as_matrix()
SCAN = Path(os.environ.get('OPENDLIGN_SHARED', '../shared')) / 'data/scannet_sample/points/scene0000_00.bin'


@pytest.fixture(scope='module')
def room():
    """Return the points (N, 3) of a built-in room and its boxes (K, 7), both as scanned."""
    built = make_room(np.random.default_rng(3), 20000)
    align = built.axis_align_matrix
    yaw = -np.arctan2(align[1, 0], align[0, 0])
    centers = (built.boxes[:, :3] - align[:3, 3]) @ align[:3, :3]
    boxes = np.hstack([centers, built.boxes[:, 3:], np.full((len(centers), 1), yaw)])
    return built.points.astype(np.float64), boxes


def overlap(first, second, random=None):
    """Return the IoU of two boxes (center, size, rotation) by counting random points."""
    places = np.random.default_rng(0).uniform(-.5, .5, (20000, 3))

    def share(box, other):
        points = places * box[1] @ box[2].T + box[0]
        return (np.abs((points - other[0]) @ other[2]) <= other[1] / 2).all(axis=1).mean()

    inner = share(first, second) * np.prod(first[1])
    return inner / (np.prod(first[1]) + np.prod(second[1]) - inner)


def rotation_about_z(matrix):
    """Return the angle of a matrix that should be a rotation about z."""
    assert matrix[2, 2] > np.cos(np.radians(1)), 'z stays up'
    return np.arctan2(matrix[1, 0], matrix[0, 0])


def write_ply(path, points):
    vertices = np.array(list(map(tuple, points)), dtype=[(axis, 'f8') for axis in 'xyz'])
    PlyData([PlyElement.describe(vertices, 'vertex')]).write(str(path))


def write_pcd(path, points):
    assert open3d.io.write_point_cloud(str(path), open3d.geometry.PointCloud(open3d.utility.Vector3dVector(points)))


def check_way_back(path, points, boxes, turn, scale):
    """Check the frame of a file of ``points`` turned by ``turn`` and scaled, and that boxes return to it."""
    frame = find_frame(read_points(path))
    assert frame.scale == 1 / scale
    # The level points are those of the scan, up to a rotation about z.
    yaw = rotation_about_z(frame.rotation @ turn)
    cos, sin = np.cos(yaw), np.sin(yaw)
    expected = points @ np.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]]).T
    assert np.abs(frame.to_level(read_points(path).points) - expected).max() < .05
    level = boxes.copy()
    level[:, :3] = boxes[:, :3] @ np.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]]).T
    level[:, 6] += yaw
    back = frame.boxes_to_file(level)
    for row, box in enumerate(boxes):
        about_z = Rotation.from_euler('z', box[6]).as_matrix()
        expected = turn @ box[:3] * scale, box[3:6] * scale, turn @ about_z
        assert overlap(expected, (back.centers[row], back.sizes[row], back.rotations[row])) > .9
    return frame, back


@pytest.mark.parametrize('name, turn, scale', [
    ('level.ply', np.eye(3), 1), ('level.pcd', np.eye(3), 1), ('turned.ply', ABOUT_X, 1), ('mm.ply', np.eye(3), 1000),
    ('turned_mm.pcd', ABOUT_X, 1000), ('turned_cm.ply', ABOUT_X, 100)])
def test_a_room_in_any_pose_and_unit_is_leveled_and_its_boxes_return_to_the_file(room, tmp_path, name, turn, scale):
    points, boxes = room
    (write_ply if name.endswith('ply') else write_pcd)(tmp_path / name, points @ turn.T * scale)
    frame, back = check_way_back(tmp_path / name, points, boxes, turn, scale)
    assert frame.is_identity == name.startswith('level')
    assert ('turned level' in frame.description) == name.startswith('turned')
    assert {1: 'meters', 100: 'centimeters', 1000: 'millimeters'}[scale] in frame.description
    if name.startswith('turned'):
        assert back.yaws is None
    else:
        np.testing.assert_allclose(back.yaws, boxes[:, 6])


@pytest.mark.skipif(not SCAN.exists(), reason='needs the real scan in OPENDLIGN_SHARED')
@pytest.mark.parametrize('turn, scale', [(np.eye(3), 1), (ABOUT_X, 1), (ABOUT_X, 1000)])
def test_a_real_scan_is_turned_level_and_boxes_return_to_the_file(tmp_path, turn, scale):
    points = np.fromfile(SCAN, '<f4').reshape(-1, 6)[:, :3].astype(np.float64)
    boxes = np.array([[1, 2, .5, 1, .6, .8, .3], [4, 6, 1.2, 2, .1, 2, 0]])
    write_ply(tmp_path / 'scan.ply', points @ turn.T * scale)
    check_way_back(tmp_path / 'scan.ply', points, boxes, turn, scale)


def test_a_room_with_y_up_is_turned_by_a_quarter(room):
    points, _ = room
    frame = find_frame(points[:, [0, 2, 1]] * [1, 1, -1])  # a rotation: x stays, z becomes y
    np.testing.assert_allclose(frame.rotation, [[1, 0, 0], [0, 0, -1], [0, 1, 0]], atol=1e-12)
    np.testing.assert_allclose(frame.to_level(points[:, [0, 2, 1]] * [1, 1, -1]), points, atol=1e-9)
    assert 'the floor is level and up is y' in frame.description
    np.testing.assert_allclose(frame.to_file(frame.to_level(points)), points, atol=1e-9)


def test_what_is_given_or_standard_is_not_guessed(room):
    points, _ = room
    cloud = PointCloud(points, None, 'a.las', 'cloud', up='y', units='m')
    assert 'up is y, the standard of the format; coordinates are meters' in find_frame(cloud).description
    frame = find_frame(cloud, up='z', units='mm')
    assert np.array_equal(frame.rotation, np.eye(3)) and frame.scale == .001
    assert frame.description == 'up is z, as given; coordinates are millimeters, as given'
    for option in (dict(up='x'), dict(units='inch')):
        with pytest.raises(ValueError, match='must be .auto.'):
            find_frame(points, **option)
    with pytest.raises(ValueError, match='more than one place'):
        find_frame(np.zeros((5, 3)))


def test_without_a_floor_z_is_up_and_the_description_says_so():
    ball = np.random.default_rng(0).normal(size=(3000, 3))
    frame = find_frame(ball / np.linalg.norm(ball, axis=1, keepdims=True))
    assert frame.is_identity and frame.is_doubtful
    assert 'no floor was found, so up is taken to be z' in frame.description
    assert find_frame(np.eye(3)).is_identity, 'three points have no floor'


def test_upside_down_is_turned_over(room):
    points, _ = room
    frame = find_frame(points * [1, -1, -1])
    assert frame.rotation[2] @ [0, 0, -1] > .999
    assert np.linalg.det(frame.rotation) == pytest.approx(1)


def test_corners_of_a_box_are_those_by_hand():
    boxes = find_frame(np.eye(3), up='y', units='cm').boxes_to_file(np.array([[1, 2, 3, .2, .4, .6, 0]]))
    corners = boxes.corners()[0]
    # Level (x, y, z) in meters is (100 x, 100 z, -100 y) in the file.
    np.testing.assert_allclose(corners.min(axis=0), [90, 270, -220])
    np.testing.assert_allclose(corners.max(axis=0), [110, 330, -180])
