"""Open-world point cloud understanding with depth-aligned images, as a plugin for mmdetection3d.

Importing this package registers every component in mmdet3d's registries. It imports neither mmdet3d's models nor its
structures (11 seconds); the detection components, which need both, are imported when a model is first built by name.
"""
import sys
from pathlib import Path

from .version import __version__

__all__ = ['__version__', 'register_components']


def register_components() -> None:
    """Register every component of this package, and the package itself, with mmdet3d and mmengine."""
    from mmdet3d.registry import DATASETS, METRICS, MODELS, VISUALIZERS
    from mmengine.config.utils import MODULE2PACKAGE

    from . import compat, engine, evaluation, generation, models  # noqa: F401
    from .datasets import transforms  # noqa: F401
    from .datasets.procedural import built_in_shapes  # noqa: F401
    # Without this entry mmengine refuses names such as 'opendlign_mm::opendlign/opendlign_b16.py'.
    MODULE2PACKAGE.setdefault(__name__, __name__)
    for registry, module in ((MODELS, 'detection'), (MODELS, 'point_encoders'), (DATASETS, 'datasets.scene_datasets'),
                             (METRICS, 'evaluation.box_metrics'), (METRICS, 'evaluation.class_groups'),
                             (VISUALIZERS, 'visualization.visualizer')):
        compat.register_location(registry, f'{__name__}.{module}')


def _only_tells_how_to_use_it() -> bool:
    """Tell whether this process is ``opendlign --help``, which needs no PyTorch (seconds to import)."""
    as_module = sys.argv[0] == '-m' and __name__ in sys.orig_argv
    is_command = as_module or Path(sys.argv[0]).name in ('opendlign', 'opendlign.exe')
    return is_command and (len(sys.argv) == 1 or not {'-h', '--help', '--version'}.isdisjoint(sys.argv))


if not _only_tells_how_to_use_it():
    register_components()
