"""Boxes around clusters of points of a class, the annotations of OV-3DET's protocol on single frames.

The rules and numbers are those of OV-3DET's released ``make_scannet_20cls_multi_thread.py`` (Lu et al., CVPR 2023).
"""
from collections.abc import Sequence

import numpy as np
import torch
from mmdet3d.structures import DepthInstance3DBoxes

from ..box_ops.iou import box_overlaps

MIN_CLASS_POINTS = 100
# Points of a class above which only every second, third, ... is clustered.
CLUSTERED_POINTS = 30_000
DISTANCE = .1
MIN_NEIGHBORS = 100
# A cluster has more points than the first and at least the second as a share of the clustered points of its class.
CLUSTER_POINTS, CLUSTER_SHARE = 100, .1
# A box of a frame is kept if its IoU with a box of its class in the whole scan is above.
MIN_IOU = .25


def clustered_boxes(points: np.ndarray, labels: np.ndarray, class_ids: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """Compute the boxes around the clusters of the points of each class.

    Classes with fewer than 100 points have none. The points of a class are clustered by DBSCAN (0.1 m, 100 neighbors);
    clusters of at most 100 points, or below a tenth of the class, are dropped. Two objects of a class that touch thus
    share a box, and an object in two parts has two.

    Args:
        points: Float (N, 3), meters, z up.
        labels: Integers (N,), the id of the class of each point.
        class_ids: Ids of the classes; those of other points are ignored.

    Returns:
        Boxes float64 (M, 7), see :func:`oriented_box`, and int64 (M,), indices in ``class_ids``.
    """
    from sklearn.cluster import DBSCAN  # a second to import
    boxes, classes = [], []
    for index, identifier in enumerate(class_ids):
        own = points[labels == identifier]
        if len(own) < MIN_CLASS_POINTS:
            continue
        own = own[::max(1, len(own) // CLUSTERED_POINTS)]
        cluster_of = DBSCAN(eps=DISTANCE, min_samples=MIN_NEIGHBORS).fit(own).labels_
        for cluster in range(cluster_of.max() + 1):
            members = own[cluster_of == cluster]
            if len(members) > CLUSTER_POINTS and len(members) >= CLUSTER_SHARE * len(own):
                boxes.append(oriented_box(members))
                classes.append(index)
    return np.array(boxes, dtype=np.float64).reshape(-1, 7), np.array(classes, dtype=np.int64)


def oriented_box(points: np.ndarray) -> np.ndarray:
    """Return the box around points whose length lies along their first principal axis, seen from above.

    Args:
        points: Float (N, 3), N > 0, z up.

    Returns:
        float64 (7,): gravity center, sizes, and yaw in radians in (-pi / 2, pi / 2], from +x towards +y.
    """
    points = np.asarray(points, dtype=np.float64)
    offsets = points[:, :2] - points[:, :2].mean(axis=0)
    axis = np.linalg.eigh(offsets.T @ offsets)[1][:, 1]
    yaw = np.arctan2(*(axis if axis[0] > 0 or axis[0] == 0 < axis[1] else -axis)[::-1])
    cos, sin = np.cos(yaw), np.sin(yaw)
    turned = points @ np.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]])
    lower, upper = turned.min(axis=0), turned.max(axis=0)
    x, y, z = (lower + upper) / 2
    return np.array([x * cos - y * sin, x * sin + y * cos, z, *(upper - lower), yaw])


def confirmed(boxes: np.ndarray, labels: np.ndarray, whole: np.ndarray, whole_labels: np.ndarray) -> np.ndarray:
    """Return which boxes of a frame overlap a box of their class in the whole scan by more than an IoU of 0.25.

    OV-3DET's code lists a box twice that overlaps two boxes so; here it counts once.

    Args:
        boxes: Float (M, 7), of the frame.
        labels: Integers (M,).
        whole: Float (K, 7), of the whole scan, in the same frame of reference.
        whole_labels: Integers (K,).

    Returns:
        bool (M,).
    """
    if not len(boxes) or not len(whole):
        return np.zeros(len(boxes), dtype=bool)
    center = whole[:, :3].mean(axis=0)  # numbers near 0 are exact enough in float32
    first, second = (DepthInstance3DBoxes(torch.from_numpy(rows - [*center, 0, 0, 0, 0]).float(),
                                          origin=(.5, .5, .5)) for rows in (boxes, whole))
    overlaps = box_overlaps(first, second).numpy()
    return ((overlaps > MIN_IOU) & (labels[:, None] == whole_labels)).any(axis=1)
