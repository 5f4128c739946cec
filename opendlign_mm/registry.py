"""Registries of the scope ``opendlign_mm``, by which mmengine's ``get_model('opendlign_mm::...')`` builds.

They are empty: components are registered in mmdet3d's registries, in which these look names up.
"""
from mmdet3d import registry as mmdet3d_registry
from mmengine.registry import Registry

_SCOPE = 'opendlign_mm'
DATASETS, METRICS, MODELS, TRANSFORMS = (
    Registry(parent.name, parent=parent, scope=_SCOPE, locations=[_SCOPE]) for parent in (
        mmdet3d_registry.DATASETS, mmdet3d_registry.METRICS, mmdet3d_registry.MODELS, mmdet3d_registry.TRANSFORMS))
