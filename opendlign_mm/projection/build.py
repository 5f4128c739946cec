"""A projection from the arguments in a config."""
from collections.abc import Callable

from .contour_aware import ContourAwareProjection
from .realistic import RealisticProjection

PROJECTIONS = {projection.__name__: projection for projection in (ContourAwareProjection, RealisticProjection)}


def build_projection(projection: dict | Callable | None = None) -> Callable:
    """Build a projection.

    Args:
        projection: Arguments, with ``type`` one of ``'ContourAwareProjection'`` (default) and
            ``'RealisticProjection'``; None: the default with its defaults; or a projection of your own, which is
            given back: a callable that takes a list of B (N_i, 3) tensors and gives (B, V, H, W) in [0, 1].

    Raises:
        ValueError: There is no such type.
        TypeError: The projection has no such argument.
    """
    if callable(projection):
        return projection
    arguments = dict(projection or {})
    name = arguments.pop('type', ContourAwareProjection.__name__)
    if name not in PROJECTIONS:
        raise ValueError(f'unknown projection {name!r}; there are {", ".join(PROJECTIONS)}')
    return PROJECTIONS[name](**arguments)
