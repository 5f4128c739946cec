"""RGB-D frames: depth images become points, and frames with poses are fused."""
import cv2
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from opendlign_mm.point_files import RGBDFrame, find_frame, list_inputs, read_points

INTRINSICS = np.array([[80., 0, 59.5], [0, 80, 44.5], [0, 0, 1]])
SHAPE = (90, 120)
# Camera to world: at (2, 0.5, 1.5), looking along +y and 30 degrees down; world z up.
LOOK = Rotation.from_euler('x', -120, degrees=True).as_matrix()


def pose_at(place, turn=0.):
    pose = np.eye(4)
    pose[:3, :3] = Rotation.from_euler('z', turn, degrees=True).as_matrix() @ LOOK
    pose[:3, 3] = place
    return pose


def render(pose):
    """Return the depth in meters, by ray casting, of a floor z = 0, a wall y = 4 and a block on the floor."""
    v, u = np.mgrid[:SHAPE[0], :SHAPE[1]]
    rays = np.stack([(u - 59.5) / 80, (v - 44.5) / 80, np.ones(SHAPE)], axis=-1) @ pose[:3, :3].T
    eye = pose[:3, 3]
    with np.errstate(divide='ignore', invalid='ignore'):
        floor = np.where(rays[..., 2] < 0, -eye[2] / rays[..., 2], np.inf)
        wall = np.where(rays[..., 1] > 0, (4 - eye[1]) / rays[..., 1], np.inf)
        near, far = (np.array([1.5, 2, 0]) - eye) / rays, (np.array([2.5, 3, .8]) - eye) / rays
    enter, leave = np.minimum(near, far).max(axis=-1), np.maximum(near, far).min(axis=-1)
    block = np.where(enter < leave, enter, np.inf)
    return np.minimum(np.minimum(floor, wall), block)


def write_frames(folder, poses, names, color=True):
    """Write frames in the layout of ScanNet's export."""
    for kind in ('depth', 'color', 'pose', 'intrinsic'):
        (folder / kind).mkdir(parents=True, exist_ok=True)
    for name, pose in zip(names, poses):
        image = np.rint(render(pose) * 1000).astype(np.uint16)
        image[0, 0] = 0
        cv2.imwrite(str(folder / f'depth/{name}.png'), image)
        if color:
            picture = np.zeros((180, 240, 3), np.uint8)
            picture[:, :120], picture[:, 120:] = (0, 0, 255), (255, 0, 0)  # BGR: left is red
            cv2.imwrite(str(folder / f'color/{name}.png'), picture)
        np.savetxt(folder / f'pose/{name}.txt', pose)
    matrix = np.eye(4)
    matrix[:3, :3] = INTRINSICS
    np.savetxt(folder / 'intrinsic/intrinsic_depth.txt', matrix)


def distance_to_surfaces(points):
    """Return the distance (N,) to the nearest plane of floor, wall and block."""
    planes = ((2, 0), (1, 4), (0, 1.5), (0, 2.5), (1, 2), (1, 3), (2, .8))
    return np.min([np.abs(points[:, axis] - place) for axis, place in planes], axis=0)


def test_a_depth_image_becomes_the_points_of_its_pinhole_camera():
    depth = np.zeros((4, 5), np.uint16)
    depth[1, 2], depth[3, 4] = 2000, 65535
    color = np.arange(60, dtype=np.uint8).reshape(4, 5, 3)
    depth[2, 2] = 2050
    frame = RGBDFrame(depth, [[100, 0, 2], [0, 50, 1], [0, 0, 1]], color)
    cloud = read_points(frame)
    np.testing.assert_allclose(cloud.points, [[0, 0, 2], [0, 2.05 / 50, 2.05]])
    np.testing.assert_allclose(cloud.colors, [color[1, 2] / 255, color[2, 2] / 255], atol=1e-6)
    assert (cloud.kind, cloud.up, cloud.units) == ('rgbd', '-y', 'm')
    moved = read_points(RGBDFrame(depth, frame.intrinsics, pose=pose_at([1, 2, 3])))
    np.testing.assert_allclose(moved.points, cloud.points @ LOOK.T + [1, 2, 3], atol=1e-12)
    assert moved.up is None and moved.colors is None


def test_frames_with_poses_are_fused_in_the_world(tmp_path):
    poses = [pose_at([2, .5, 1.5]), pose_at([1, .4, 1.6], -15), pose_at([3, .3, 1.4], 10), np.full((4, 4), -np.inf)]
    write_frames(tmp_path / 'scan', poses[:3], ['2', '10', '30'])
    for name, pose in (('40', poses[3]), ('50', poses[0])):
        cv2.imwrite(str(tmp_path / f'scan/depth/{name}.png'), np.full(SHAPE, 1000, np.uint16))
        np.savetxt(tmp_path / f'scan/pose/{name}.txt', pose)
    (tmp_path / 'scan/pose/50.txt').unlink()
    with pytest.warns(UserWarning) as warned:
        cloud = read_points(tmp_path / 'scan')
    assert [str(each.message).partition(': ')[2] for each in warned] == [
        '1 of 5 depth images have no pose and were left out', '1 frames without a finite pose were left out']
    assert (cloud.name, cloud.kind, cloud.up, cloud.units) == ('scan', 'rgbd', None, 'm')
    assert distance_to_surfaces(cloud.points).max() < .01
    assert len(cloud.colors) == len(cloud.points)
    assert len(np.unique(np.floor(cloud.points / .02), axis=0)) == len(cloud.points) > 5000
    frame = find_frame(cloud)
    assert frame.is_identity and 'the floor is level and up is z' in frame.description
    assert list_inputs(tmp_path) == [tmp_path / 'scan']
    (tmp_path / 'scan/color/10.png').unlink()
    with pytest.warns(UserWarning):
        assert read_points(tmp_path / 'scan').colors is None, 'a frame without colors leaves the whole cloud without'


def test_a_single_frame_without_pose_is_turned_level(tmp_path):
    pose = pose_at([2, .5, 1.5])
    cv2.imwrite(str(tmp_path / 'depth.png'), np.rint(render(pose) * 1000).astype(np.uint16))
    cv2.imwrite(str(tmp_path / 'color.png'), np.full((*SHAPE, 3), (10, 20, 30), np.uint8))
    (tmp_path / 'intrinsics.txt').write_text('80 80 59.5 44.5\n')
    cloud = read_points(tmp_path)
    np.testing.assert_allclose(cloud.colors[0], [30 / 255, 20 / 255, 10 / 255], atol=1e-6)
    world = cloud.points @ pose[:3, :3].T + pose[:3, 3]
    assert distance_to_surfaces(world).max() < .01
    frame = find_frame(cloud)
    assert frame.rotation[2] @ pose[2, :3] > np.cos(np.radians(1)), 'up of the world, seen from the camera'


def test_the_left_of_the_color_image_is_the_left_of_the_depth_image(tmp_path):
    write_frames(tmp_path, [pose_at([2, .5, 1.5])], ['0'])
    cloud = read_points(tmp_path)
    red = cloud.colors[:, 0] == 1
    assert cloud.points[red, 0].max() < 2.01 and cloud.points[~red, 0].min() > 1.99 and red.mean() > .4


def test_depths_between_two_surfaces_at_an_edge_are_left_out():
    depth = np.full((6, 6), 1000., np.float32)
    depth[:, 3:] = 3000
    cloud = read_points(RGBDFrame(depth, np.array([[5., 0, 3], [0, 5, 3], [0, 0, 1]])))
    assert len(cloud.points) == 6 * 4, 'columns 2 and 3 are at the edge'


@pytest.mark.parametrize('break_it, message', [
    (lambda folder: (folder / 'intrinsic/intrinsic_depth.txt').unlink(), 'has no intrinsics.txt: a folder of frames'),
    (lambda folder: [path.unlink() for path in (folder / 'pose').iterdir()], '2 depth images but no poses'),
    (lambda folder: cv2.imwrite(str(folder / 'depth/0.png'), np.zeros(SHAPE, np.uint8)), '0.png must be a 16-bit'),
    (lambda folder: (folder / 'depth/0.png').write_bytes(b'x'), '0.png cannot be read as an image'),
    (lambda folder: (folder / 'pose/1.txt').write_text('1 2\n'), '1.txt must hold a finite'),
    (lambda folder: (folder / 'pose/1.txt').write_text('a b\n'), '1.txt is not a matrix'),
    (lambda folder: [path.unlink() for path in (folder / 'depth').iterdir()], 'has no depth images'),
    (lambda folder: [cv2.imwrite(str(path), np.zeros(SHAPE, np.uint16)) for path in (folder / 'depth').iterdir()],
     'has no points')])
def test_a_bad_folder_of_frames_is_refused_with_one_message(tmp_path, break_it, message):
    write_frames(tmp_path, [pose_at([2, .5, 1.5]), pose_at([1, .4, 1.6])], ['0', '1'], color=False)
    break_it(tmp_path)
    with pytest.raises(ValueError, match=message) as caught:
        read_points(tmp_path)
    assert str(tmp_path) in str(caught.value)


def test_images_of_another_kind_are_refused():
    for options, message in ((dict(depth=np.zeros((2, 2, 3))), r'numbers \(H, W\)'),
                             (dict(intrinsics=np.eye(4)), 'intrinsics must be a finite 3 x 3'),
                             (dict(color=np.zeros((2, 2, 3))), 'color image must be uint8'),
                             (dict(pose=np.eye(3)), 'pose must be a finite 4 x 4'),
                             (dict(depth_scale=0), 'depth_scale must be positive')):
        frame = dict(depth=np.ones((2, 2)), intrinsics=np.eye(3))
        with pytest.raises(ValueError, match=message):
            read_points(RGBDFrame(**{**frame, **options}))
