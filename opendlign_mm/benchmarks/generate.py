"""Suite ``generate``: the overhead of the image stage around its generator."""
import tempfile
import time
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from mmdet3d.registry import MODELS
from mmengine.registry import init_default_scope

from ..datasets.procedural import CATEGORIES, sample_shape
from ..datasets.store import PackedShape, ShapeStore, encode_image
from ..projection import ContourAwareProjection
from .measuring import Curve, Row, Settings

MOCKED_SECONDS = .2  # an image by Stable Diffusion 1.5 on a fast GPU


@MODELS.register_module()
class TimedMock:
    """A generator that takes a given time for an image and returns noise, the hardest images to encode.

    Args:
        seconds: Time of an image.
    """

    cpu_seconds = 0.

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def __call__(self, depth_views: torch.Tensor, seeds: Sequence[int], prompts: object = None) -> torch.Tensor:
        """Return noise of the seeds, uint8 (N, 224, 224, 3)."""
        begin, cpu = time.perf_counter(), time.thread_time()
        images = torch.stack([torch.randint(0, 256, (224, 224, 3), dtype=torch.uint8,
                                            generator=torch.Generator().manual_seed(seed)) for seed in seeds])
        TimedMock.cpu_seconds += time.thread_time() - cpu
        time.sleep(max(0, self.seconds * len(seeds) - (time.perf_counter() - begin)))
        return images


def rows(settings: Settings) -> Iterator[Row]:
    """Measure the image stage with a mock in both layouts."""
    init_default_scope('mmdet3d')
    if find_spec('pyarrow') and find_spec('webdataset'):
        yield from _overhead(settings)


def _overhead(settings: Settings) -> Iterator[Row]:
    # A run imports these once (building a model imports mmdet3d): the measurement starts after it.
    import pyarrow.parquet  # noqa: F401
    import webdataset  # noqa: F401

    from ..generation.image_stage import generate_images
    MODELS.build(dict(type='TimedMock', seconds=0))
    objects, mocked = settings.pick(40, 2), settings.pick(MOCKED_SECONDS, .001)
    with tempfile.TemporaryDirectory() as folder:
        source = _depth_store(Path(folder) / 'depth', objects)
        for layout in ('shards', 'folder'):
            TimedMock.cpu_seconds, cpu, begin = 0., time.process_time(), time.perf_counter()
            generate_images(dict(source=str(source), out_dir=f'{folder}/{layout}', layout=layout, batch_size=40,
                                 generator=dict(type='TimedMock', seconds=mocked)))
            seconds = time.perf_counter() - begin
            # On a busy machine the CPU time is the more reliable figure.
            cpu = time.process_time() - cpu - TimedMock.cpu_seconds
            wanted = mocked * objects * 10
            yield Row('generate', f'image stage, {layout}, a generator of {mocked} s', seconds / objects / 10, 'image',
                      'uint8', 'the generator alone', mocked, wanted / seconds,
                      facts=dict(overhead_percent=100 * (seconds - wanted) / seconds,
                                 cpu_overhead_percent=100 * cpu / (wanted + cpu)))


def _depth_store(folder: Path, objects: int) -> Path:
    """Write ten depth views of each of a few objects."""
    store, project = ShapeStore.create(folder, 'shards', objects, 4, {}), ContourAwareProjection()
    for shard in range(store.num_shards):
        shapes = []
        for index in store.indices(shard):
            category = CATEGORIES[index % len(CATEGORIES)]
            points = sample_shape(category, np.random.default_rng(index), 2000).points
            gray = (project(torch.from_numpy(points)[None])[0] * 255).round().to(torch.uint8).numpy()
            shapes.append(PackedShape(dict(sample_id=f'{index}', text=category), [encode_image(view) for view in gray]))
        store.write(shard, shapes)
    return store.root


def curves(settings: Settings) -> Iterator[Curve]:
    """Yield nothing: the time grows with the number of images."""
    yield from ()
