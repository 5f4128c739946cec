"""Points to depth views. Needs torch and numba only."""
from .build import build_projection
from .contour_aware import ContourAwareProjection, median_blur
from .realistic import RealisticProjection
from .views import view_axes

__all__ = ['ContourAwareProjection', 'RealisticProjection', 'build_projection', 'median_blur', 'view_axes']
