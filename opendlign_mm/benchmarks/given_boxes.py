"""The test of a room whose boxes are given, compared with its encoder alone; a part of the suite ``detect``."""
import tempfile
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmdet3d.registry import MODELS
from mmdet3d.structures import DepthInstance3DBoxes, Det3DDataSample
from mmengine.registry import init_default_scope
from mmengine.structures import InstanceData

from ..detection import OpenVocabDetector3D
from ..detection.proposals.given_boxes import write_boxes
from ..models import OpenDlign
from ..projection.contour_aware import Backend
from .measuring import Row, Settings, compare, median_seconds
from .models import random_model

GPU_CLIP = 'ViT-H-14-quickgelu'


def fastest_backend(device: torch.device) -> Backend:
    """Return the backend of the contour-aware projection for many clouds on a device."""
    return 'triton' if device.type == 'cuda' and find_spec('triton') else 'auto'


def given_boxes(points: np.ndarray, count: int) -> InstanceData:
    """Return boxes of the size of furniture around points of a room, with at least 5 points, objectness 1.

    Args:
        points: Float32 (N, 3).
        count: Number K of boxes.
    """
    rng = np.random.default_rng(0)
    centers = points[rng.choice(len(points), count, replace=len(points) < count)]
    sizes = rng.uniform(.6, 1.6, (count, 3))
    boxes = InstanceData()
    boxes.bboxes_3d = DepthInstance3DBoxes(torch.from_numpy(np.concatenate(
        [centers, sizes, rng.uniform(0, 6, (count, 1))], axis=1)).float(), origin=(.5, .5, .5))
    boxes.objectness = torch.ones(count)
    return boxes


def box_detector(classifier: OpenDlign, projection: Any, folder: str | Path, **options) -> OpenVocabDetector3D:
    """Return a detector that classifies the boxes in ``folder``, on the device of its classifier."""
    init_default_scope('mmdet3d')
    return MODELS.build(dict(type='OpenVocabDetector3D', proposals=dict(type='FileProposals', folder=folder),
                             projection=projection, classifier=classifier, **options)).eval()


@torch.no_grad()
def given_boxes_row(points: np.ndarray, packaged: Callable[[], OpenVocabDetector3D], settings: Settings) -> Row:
    """Measure a room whose boxes come from a file: all of its test, and the passes of its views alone.

    Args:
        points: Float32 (N, 3).
        packaged: Returns the detector of the packaged model, the model on a CPU. On a GPU it is a ViT-H-14 with random
            weights.
        settings: How to measure.
    """
    on_gpu = settings.device.type == 'cuda'
    if on_gpu:
        with settings.device:  # where random weights take a moment
            classifier = random_model(GPU_CLIP, 'auto', settings)
        projection: Any = dict(resolution=classifier.backbone.image_size[0], backend=fastest_backend(settings.device))
    else:
        classifier, projection = packaged().classifier, packaged().projection
    count = settings.pick(128 if on_gpu else 64, 3)
    with tempfile.TemporaryDirectory() as folder:
        write_boxes(Path(folder) / 'room.npz', given_boxes(points, count))
        detector = box_detector(classifier, projection, folder)
        inputs = dict(points=[torch.from_numpy(points).to(settings.device)])

        def sample() -> Det3DDataSample:
            return Det3DDataSample(metainfo=dict(lidar_path='room.bin'))

        proposals = detector.propose(inputs['points'][0], sample())
        _, crops = detector.crop_proposals(inputs['points'][0], proposals)
        views = detector.depth_views(crops)
        seconds, encoder, ratio = compare(lambda: detector.predict(inputs, [sample()]),
                                          lambda: classifier.encode_for_classes(views), settings)
        crop = median_seconds(lambda: detector.crop_proposals(inputs['points'][0], proposals), settings)
        project = median_seconds(lambda: detector.depth_views(crops), settings)
    number = views.shape[0] * views.shape[1]
    name = GPU_CLIP if on_gpu else 'packaged model'
    return Row('detect', f'a room of {len(points):,} points, {count} given boxes, {name}', seconds, 'scene',
               other='the encoder alone', other_seconds=encoder, ratio=ratio,
               facts=dict(share_of_encoder=ratio, views=number, views_per_second=number / seconds,
                          views_per_second_of_encoder=number / encoder, seconds_to_crop=crop,
                          seconds_to_project=project,
                          projection=detector.projection.backend_for(settings.device)))
