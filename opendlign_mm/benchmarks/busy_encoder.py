"""Suite ``detect``: a room with given boxes and a dataset of shapes, compared with their encoder alone."""
import os
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmdet3d.registry import DATASETS, MODELS
from mmdet3d.structures import DepthInstance3DBoxes, Det3DDataSample
from mmengine.registry import init_default_scope
from mmengine.structures import InstanceData
from torch.utils.data import DataLoader

from ..datasets.collate import collate_shapes
from ..detection import OpenVocabDetector3D
from ..detection.proposals.given_boxes import write_boxes
from ..models import OpenDlign, ProjectingDataPreprocessor
from ..projection import ContourAwareProjection
from .measuring import Row, Settings, compare, median_seconds
from .models import random_model

GPU_CLIP = 'ViT-H-14-quickgelu'


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
def busy_encoder_rows(points: np.ndarray, packaged: Callable[[], OpenVocabDetector3D], settings: Settings
                      ) -> Iterator[Row]:
    """Measure tests whose encoder should be busy all the time, and the passes of their views alone.

    Args:
        points: Points of a room, float32 (N, 3).
        packaged: Returns the detector of the packaged model, the model on a CPU. On a GPU it is a ViT-H-14 with random
            weights.
        settings: How to measure.
    """
    if settings.device.type == 'cuda':
        name, classifier = GPU_CLIP, random_model(GPU_CLIP, 'auto', settings)
        projection: Any = ContourAwareProjection(resolution=classifier.backbone.image_size[0])
    else:
        name, classifier, projection = 'packaged model', packaged().classifier, packaged().projection
    yield _room_with_boxes(points, name, classifier, projection, settings)
    yield _shapes(name, classifier, projection, settings)


def _room_with_boxes(points: np.ndarray, name: str, classifier: OpenDlign, projection: ContourAwareProjection,
                     settings: Settings) -> Row:
    """Measure a room whose boxes come from a file."""
    count = settings.pick(128 if settings.device.type == 'cuda' else 64, 3)
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
    return Row('detect', f'a room of {len(points):,} points, {count} given boxes, {name}', seconds, 'scene',
               other='the encoder alone', other_seconds=encoder, ratio=ratio,
               facts=dict(_rates(views, seconds, encoder), seconds_to_crop=crop, seconds_to_project=project,
                          projection=projection.backend_for(settings.device)))


def _shapes(name: str, classifier: OpenDlign, projection: ContourAwareProjection, settings: Settings) -> Row:
    """Measure shapes whose points data workers make, and which are projected on the device of the model."""
    each, count = settings.pick((16 if settings.device.type == 'cuda' else 1, 10000), (1, 300))
    pipeline = [dict(type='LoadBuiltInShape'), dict(type='PackPointInputs', use_colors=False)]
    dataset = DATASETS.build(dict(type='BuiltInShapes', split='test', num_per_category=each, num_points=count,
                                  pipeline=pipeline))
    loader = DataLoader(dataset, batch_size=16, num_workers=settings.pick(min(os.cpu_count() or 1, 8), 1),
                        collate_fn=collate_shapes, pin_memory=settings.device.type == 'cuda', persistent_workers=True)
    to_views = ProjectingDataPreprocessor(projection).to(settings.device)

    def test() -> None:
        for batch in loader:
            batch = to_views(batch)
            for scored in classifier.predict(batch['inputs'], batch['data_samples']):
                scored.to('cpu')

    views = to_views(next(iter(loader)))['inputs']['depth_views']
    views = views.repeat(-(-len(dataset) // len(views)), 1, 1, 1)[:len(dataset)]
    few = replace(settings, quick=True)  # a single pair: the dataset is its own repetition
    seconds, encoder, ratio = compare(test, lambda: classifier.encode_for_classes(views), few)
    return Row('detect', f'a dataset of {len(dataset)} shapes of {count:,} points, {name}', seconds, 'dataset',
               other='the encoder alone', other_seconds=encoder, ratio=ratio,
               facts=dict(_rates(views, seconds, encoder), workers=loader.num_workers))


def _rates(views: torch.Tensor, seconds: float, encoder: float) -> dict[str, Any]:
    number = views.shape[0] * views.shape[1]
    return dict(views=number, views_per_second=number / seconds, views_per_second_of_encoder=number / encoder)
