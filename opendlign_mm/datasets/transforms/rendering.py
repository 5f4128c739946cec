"""Renderings of meshes in the place of depth-aligned images (OpenDlign, table 5: depth-rendCAD)."""
from collections.abc import Callable, Sequence

import numpy as np
from mmcv.transforms import BaseTransform
from mmdet3d.registry import TRANSFORMS

from ...point_files.surfaces import Surface, read_surface
from ...projection import ContourAwareProjection, build_projection
from ..mesh_rendering import render_views
from ..procedural.catalog import surface_of_shape
from .projecting import point_coordinates


@TRANSFORMS.register_module()
class RenderImages(BaseTransform):
    """Transform that renders the mesh of an object in color by the cameras of its depth views.

    It goes after ``LoadShapePoints`` or ``LoadBuiltInShape`` and before transforms that move the points.

    Required keys:
        points: float tensor or array (N, 3), z up: the points of the depth views.
        points_path: Mesh file, see :func:`read_surface`; or ``shape_seed`` and the other keys of a built-in object.
    Optional keys:
        points_index: Number of a model in a library of furniture.
        up_axis, points_offset: What ``LoadShapePoints`` did to the points of the file.

    Added keys:
        images: uint8 array (V, H, W, 3), RGB.

    Args:
        projection: Arguments of the ``ContourAwareProjection`` of the depth views; see :func:`build_projection`.
        points_key: Key of the points that the views are framed by.
        samples: Rays along each side of a pixel.
        background: RGB where nothing is hit.

    Raises:
        ValueError: The object is not a mesh, it cannot be read, its points are not on the mesh, or a view shows nothing
            of it; the message names the object.
    """

    reads_materials = True  # DiskCache then notices changed textures

    def __init__(self, projection: dict | Callable | None = None, points_key: str = 'points',
                 samples: int = 2, background: Sequence[int] = (255, 255, 255)) -> None:
        self.projection = build_projection(projection)
        if not isinstance(self.projection, ContourAwareProjection):
            raise ValueError('RenderImages needs a ContourAwareProjection, whose cameras it uses, got '
                             f'{type(self.projection).__name__}')
        if samples < 1:
            raise ValueError(f'samples must be >= 1, got {samples}')
        if len(background) != 3 or not all(0 <= value <= 255 for value in background):
            raise ValueError(f'background must be three values in [0, 255], got {background!r}')
        self.points_key, self.samples, self.background = points_key, samples, tuple(background)

    def transform(self, results: dict) -> dict:
        """Add ``images`` to ``results``."""
        points = point_coordinates(results, self.points_key)
        name = results.get('sample_id', 'the object')
        try:
            results['images'] = render_views(self._surface(results), points, self.projection, self.samples,
                                             self.background)
        except ValueError as error:
            raise ValueError(f'{name}: {error}') from error
        return results

    def _surface(self, results: dict) -> Surface:
        """Return the surface of an object in the frame of its points."""
        if 'shape_seed' in results:
            return Surface(*surface_of_shape(results['category'], np.random.default_rng(tuple(results['shape_seed'])),
                                             results['num_points'], results.get('edition', 1)))
        if 'points_path' not in results:
            raise ValueError("renderings need a mesh, and the object has no 'points_path'")
        surface = read_surface(results['points_path'], results.get('points_index'))
        corners = surface.corners
        if results.get('up_axis', 'z') == 'y':
            corners = np.stack((corners[..., 0], -corners[..., 2], corners[..., 1]), axis=-1)
        return Surface(corners - results.get('points_offset', np.zeros(3)), surface.paint)

    def __repr__(self) -> str:
        return (f'{type(self).__name__}(projection={self.projection!r}, points_key={self.points_key!r}, '
                f'samples={self.samples}, background={self.background})')
