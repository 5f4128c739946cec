"""Open-world point cloud understanding with depth-aligned images, as a plugin for mmdetection3d.

Importing this package registers every component in mmdet3d's registries. It imports neither mmdet3d's models nor its
structures (11 seconds); the detection components, which need both, are imported when a model is first built by name.
"""
from mmdet3d.registry import DATASETS, METRICS, MODELS, VISUALIZERS

from . import compat, engine, evaluation, generation, models  # noqa: F401
from .datasets import transforms  # noqa: F401
from .datasets.procedural import built_in_shapes  # noqa: F401
from .version import __version__

__all__ = ['__version__']

for registry, module in ((MODELS, 'detection'), (MODELS, 'point_encoders'), (DATASETS, 'datasets.scene_datasets'),
                         (METRICS, 'evaluation.box_metrics'), (VISUALIZERS, 'visualization.visualizer')):
    compat.register_location(registry, f'{__name__}.{module}')
