"""Suite ``detect``: a room from points to named boxes, a second vocabulary, and 3DETR-m."""
import tempfile
from collections.abc import Callable, Iterator

import numpy as np
import torch
from mmdet3d.registry import MODELS
from mmengine.registry import init_default_scope

from ..apis import SceneInferencer
from ..box_ops.points_in_boxes import count_points_in_boxes
from ..datasets.procedural.rooms import make_room
from .busy_encoder import busy_encoder_rows
from .measuring import Curve, Row, Settings, grow, median_seconds

FIRST, SECOND = 'chair,table,bed,sofa', 'desk,lamp,window,door'
# 3DETR-m for the 18 classes of ScanNet, as configs/3detr_m_scannet.py builds it.
THREE_DETR = dict(
    type='ThreeDETR', num_classes=18, num_angle_bins=1, num_queries=256, memory_layers=2,
    set_abstraction=dict(num_points=2048, radius=.2, num_samples=64, channels=(64, 128, 256)),
    encoder=dict(num_layers=3, num_heads=4, feedforward_channels=128, masking_radii=(.16, .64, 1.44),
                 downsampling=dict(num_points=1024, radius=.4, num_samples=32, channels=(256, 256, 256))),
    decoder=dict(num_layers=8, num_heads=4, feedforward_channels=256))


def room(points: int) -> np.ndarray:
    """Return the points of a built-in room, float32 (N, 3)."""
    return np.asarray(make_room(np.random.default_rng(0), points).points, dtype=np.float32)


def rows(settings: Settings) -> Iterator[Row]:
    """Measure a room by the packaged model, by other words, with given boxes, shapes; then 3DETR-m alone."""
    points = room(settings.pick(40000, 4000))
    detect = SceneInferencer(device=settings.device, show_progress=False)
    place = dict(up='z', units='m')
    boxes = len(detect(points, FIRST, **place)['predictions'][0]['boxes'])
    yield Row('detect', f'a room of {len(points):,} points, clusters, packaged model',
              median_seconds(lambda: detect(points, FIRST, **place), settings), 'scene', facts=dict(boxes=boxes))
    with tempfile.TemporaryDirectory() as folder:
        detect(points, FIRST, save_features=folder, **place)
        yield Row('detect', 'the same room, a second vocabulary on stored features', median_seconds(
            lambda: detect(points, SECOND, load_features=folder, **place), settings), 'scene')
    yield from busy_encoder_rows(points, lambda: detect.model, settings)
    yield _three_detr(settings)


def _three_detr(settings: Settings) -> Row:
    init_default_scope('mmdet3d')
    torch.manual_seed(0)
    model = MODELS.build(THREE_DETR).to(settings.device).eval()
    points = torch.from_numpy(room(settings.pick(40000, 4000))).to(settings.device)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.inference_mode():
            seconds = median_seconds(lambda: model.predict_boxes([points]), settings)
    finally:
        torch.set_num_threads(threads)
    return Row('detect', f'3DETR-m, a room of {len(points):,} points, 1 thread', seconds, 'scene')


def curves(settings: Settings) -> Iterator[Curve]:
    """Measure growing numbers of boxes: counting their points in a room."""
    points = torch.from_numpy(room(settings.pick(40000, 4000))).to(settings.device)

    def of_boxes(count: int) -> Callable:
        generator = torch.Generator().manual_seed(0)
        low, high = points.amin(dim=0).cpu(), points.amax(dim=0).cpu()
        centers = low + (high - low) * torch.rand(count, 3, generator=generator)
        boxes = torch.cat([centers, .3 + torch.rand(count, 3, generator=generator),
                           6 * torch.rand(count, 1, generator=generator)], dim=1).to(settings.device)
        return lambda: count_points_in_boxes(points, boxes)

    yield grow('detect', f'points in boxes of a room of {len(points):,} points', 'boxes',
               settings.pick((1, 4, 16, 64, 256), (1, 4)), of_boxes, settings)
