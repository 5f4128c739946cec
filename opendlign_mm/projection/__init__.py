"""Points to depth views. Needs torch and numba only."""
from .contour_aware import ContourAwareProjection, median_blur
from .views import view_axes

__all__ = ['ContourAwareProjection', 'median_blur', 'view_axes']
