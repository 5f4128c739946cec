"""Small scenes and a small detector for the tests of detection."""
import numpy as np
import torch
from mmdet3d.registry import MODELS
from mmengine.registry import init_default_scope

import opendlign_mm.detection  # noqa: F401
from helpers.tiny_clip import TINY_BACKBONE
from helpers.tiny_runs import PROJECTION

CLASSES = ('chair', 'table', 'cabinet')


def box_surface(center, size, count, rng):
    """Return points (count, 3) on the six faces of a box."""
    points = rng.uniform(-0.5, 0.5, (count, 3))
    axis, side = rng.integers(0, 3, count), rng.choice([-0.5, 0.5], count)
    points[np.arange(count), axis] = side
    return points * size + center


def furnished_room(turn=0., seed=0):
    """Return points float32 (N, 6) of a 5 x 4 x 2.5 m room and its four blocks (4, 6), gravity center and size."""
    rng = np.random.default_rng(seed)
    boxes = np.array([[1.0, 1.0, 0.4, 1.0, 0.8, 0.8], [3.5, 1.2, 0.35, 1.2, 0.7, 0.7],
                      [1.2, 3.0, 0.6, 0.6, 0.6, 1.2], [3.6, 3.0, 0.25, 0.5, 0.5, 0.5]])
    parts = [box_surface(box[:3], box[3:], 700, rng) for box in boxes]
    shell = rng.uniform(size=(9000, 3)) * [5, 4, 2.5]
    face = rng.integers(0, 5, len(shell))  # floor and walls, no ceiling
    shell[face == 0, 2] = 0
    for number, (axis, place) in enumerate([(0, 0), (0, 5), (1, 0), (1, 4)], start=1):
        shell[face == number, axis] = place
    colors = [np.tile(color, (700, 1)) for color in ([200, 30, 30], [30, 200, 30], [30, 30, 200], [200, 200, 30])]
    points = np.concatenate([*parts, shell]) + rng.normal(0, 0.004, (700 * 4 + 9000, 3))
    rotation = np.array([[np.cos(turn), np.sin(turn), 0], [-np.sin(turn), np.cos(turn), 0], [0, 0, 1]])
    colored = np.concatenate([points @ rotation, np.concatenate([*colors, np.full((9000, 3), 150)])], axis=1)
    return torch.from_numpy(colored).float(), torch.from_numpy(boxes).float()


def tiny_classifier_config():
    return dict(
        type='OpenDlign', backbone=dict(TINY_BACKBONE),
        zero_shot_head=dict(type='ZeroShotHead', class_names=CLASSES, templates=['a {}']))


def tiny_detector(proposals='ClusterProposals', views='depth', **options):
    """Return a detector with a random CLIP."""
    init_default_scope('mmdet3d')
    torch.manual_seed(0)
    if isinstance(proposals, str):
        proposals = dict(type=proposals)
    return MODELS.build(dict(type='OpenVocabDetector3D', proposals=proposals, projection=PROJECTION,
                             classifier=dict(tiny_classifier_config(), views=views), **options)).eval()
