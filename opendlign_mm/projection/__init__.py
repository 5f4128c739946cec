"""Projections of point clouds to views. They need torch and numba, neither mmengine nor mmdet3d."""
from collections.abc import Callable

from .color import ColorProjection
from .contour_aware import ContourAwareProjection
from .pointclip import PointCLIPProjection
from .realistic import RealisticProjection
from .rendered import RenderedDepthProjection
from .views import view_axes

__all__ = ['ColorProjection', 'ContourAwareProjection', 'PointCLIPProjection', 'RealisticProjection',
           'RenderedDepthProjection', 'build_projection', 'view_axes']

PROJECTIONS: dict[str, Callable] = {
    'ContourAwareProjection': ContourAwareProjection,
    'PointCLIPProjection': PointCLIPProjection,
    'RealisticProjection': RealisticProjection,
    'RenderedDepthProjection': RenderedDepthProjection,
}


def build_projection(projection: dict | Callable | None = None) -> Callable:
    """Build the projection that a config describes.

    Args:
        projection: Arguments of a projection, with its name under ``type`` (default ``'ContourAwareProjection'``; those
            of compared systems are ``'PointCLIPProjection'``, ``'RealisticProjection'`` of PointCLIP V2 and
            ``'RenderedDepthProjection'`` of CLIP2Point). None builds the default projection. A callable is returned as
            it is: a projection of your own takes a list of B tensors (N_i, 3) and returns (B, V, H, W) in [0, 1].

    Raises:
        ValueError: ``type`` is unknown.
        TypeError: The projection does not have one of the arguments.
    """
    if callable(projection):
        return projection
    arguments = dict(projection or {})
    name = arguments.pop('type', 'ContourAwareProjection')
    if name not in PROJECTIONS:
        raise ValueError(f'unknown projection {name!r}; choose one of {", ".join(PROJECTIONS)}')
    return PROJECTIONS[name](**arguments)
