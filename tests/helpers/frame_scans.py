"""A scan of scannet_frames_25k whose boxes are known: slanted boards below a camera that looks down."""
import cv2
import numpy as np

SHAPE, FOCAL = (60, 80), 120.
# Camera at (5, 7, 3), x to the right, looking straight down: its y points to -y of the world, its z down.
POSE = np.array([[1., 0, 0, 5], [0, -1, 0, 7], [0, 0, -1, 3], [0, 0, 0, 1]])


def board_depth():
    """Return a depth in millimeters that grows by 5 a row, from 1 m: a slanted plane."""
    return np.repeat(1000 + 5 * np.arange(SHAPE[0])[:, None], SHAPE[1], axis=1).astype(np.uint16)


def board_points(rows, columns):
    """Return the points of pixels in the world, by the pinhole camera: float (R * C, 3)."""
    v, u = (axis.ravel() for axis in np.meshgrid(rows, columns, indexing='ij'))
    z = 1 + .005 * v
    x, y = (u - 39.5) / FOCAL * z, (v - 29.5) / FOCAL * z
    return np.stack([5 + x, 7 - y, 3 - z], axis=1)


def write_frame(scan, name, labels, pose=POSE):
    """Write a frame; ``labels`` are NYU40 ids of the size of the color image, which is twice that of the depth."""
    for kind in ('depth', 'color', 'label', 'pose'):
        (scan / kind).mkdir(parents=True, exist_ok=True)
    color = np.zeros((2 * SHAPE[0], 2 * SHAPE[1], 3), np.uint8)
    color[:, SHAPE[1]:] = 0, 0, 255  # BGR: the right half is red
    cv2.imwrite(str(scan / f'depth/{name}.png'), board_depth())
    cv2.imwrite(str(scan / f'color/{name}.jpg'), color)
    cv2.imwrite(str(scan / f'label/{name}.png'), labels)
    np.savetxt(scan / f'pose/{name}.txt', pose)
    for camera, factor in (('depth', 1), ('color', 2)):
        matrix = np.eye(4)
        matrix[:2, :3] = factor * np.array([[FOCAL, 0, 39.5], [0, FOCAL, 29.5]])
        np.savetxt(scan / f'intrinsics_{camera}.txt', matrix)


def labels_of(*areas):
    """Return an image of labels from (id, rows, columns), slices in pixels of the depth image."""
    labels = np.zeros((2 * SHAPE[0], 2 * SHAPE[1]), np.uint8)
    for identifier, rows, columns in areas:
        labels[2 * rows.start:2 * rows.stop, 2 * columns.start:2 * columns.stop] = identifier
    return labels
