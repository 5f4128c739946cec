"""Load a shape's points, depth views or depth-aligned images."""
import zlib
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from mmcv.transforms import BaseTransform
from mmdet3d.registry import TRANSFORMS

from ...point_files.array_files import load_npy, points_of_entry
from ...point_files.shape_files import ShapePoints, checked_points, read_shape
from ...source_files import is_error_of_machine
from ..procedural import sample_shape
from ..released import read_aligned_images, read_depth_views

UpAxis = Literal['y', 'z']
UP_AXES = ('y', 'z')


@TRANSFORMS.register_module()
class LoadShapePoints(BaseTransform):
    """Transform that reads the points of an object, z up, as mmdet3d's ``LoadPointsFromFile`` reads those of a scene.

    Which points of a larger cloud are taken, or where the surface of a mesh is sampled, depends on ``sample_id`` alone.

    Required keys:
        points_path: A file of :func:`read_shape`'s formats.
    Optional keys:
        points_index: Row of the dataset in an .h5 file, entry of an .npy file of objects, or number of a model in the
            catalog of a library of furniture (.sh3f).
        points_key: Name of the dataset in an .h5 file, default 'data'.
        up_axis: 'z' (default) or 'y', the axis that points up in the file.
        sample_id: Unique name of the object.

    Added keys:
        points: float32 tensor (N, 3), z up, in the unit of the file.
        points_offset: float64 array (3,), z up: what to add to the points to get those of the file. It is 0 unless they
            are so far from the origin that float32 would lose their form.
        up_axis: The axis that was up in the file.
        colors: uint8 array (N, 3), RGB, if the file has them.

    Args:
        num_points: Largest number of points; the exact number for a mesh. None: all, 10,000 for a mesh.
        up_axis: Up axis that overrides the record's.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file cannot be read, is truncated, empty, or has points that are not finite; the message names
            it.
    """

    def __init__(self, num_points: int | None = None, up_axis: UpAxis | None = None) -> None:
        if num_points is not None and num_points < 1:
            raise ValueError(f'num_points must be >= 1 or None, got {num_points}')
        if up_axis not in (None, *UP_AXES):
            raise ValueError(f"up_axis must be 'y', 'z' or None, got {up_axis!r}")
        self.num_points, self.up_axis = num_points, up_axis
        self._entries_path: str | None = None
        self._entries: Any = None

    def transform(self, results: dict) -> dict:
        """Add the points to ``results``."""
        path, index = results['points_path'], results.get('points_index')
        up_axis = self.up_axis or results.get('up_axis', 'z')
        if up_axis not in UP_AXES:
            raise ValueError(f"{path}: up_axis must be 'y' or 'z', got {up_axis!r}")
        seed = zlib.crc32(str(results.get('sample_id', path)).encode(errors='surrogatepass'))
        if index is not None and Path(path).suffix.lower() == '.npy':
            shape = self._entry(path, index, seed)
        else:
            shape = read_shape(path, self.num_points, seed, index, results.get('points_key', 'data'))
        points, offset = torch.from_numpy(shape.points), shape.offset
        if up_axis == 'y':
            # A rotation: exchanging two axes would mirror the object.
            points = torch.stack((points[:, 0], -points[:, 2], points[:, 1]), dim=1)
            offset = np.array([offset[0], -offset[2], offset[1]])
        results['points'], results['points_offset'], results['up_axis'] = points, offset, up_axis
        if shape.colors is not None:
            results['colors'] = shape.colors
        return results

    def _entry(self, path: str, index: int, seed: int) -> ShapePoints:
        """Read an entry of a file of all objects. It is read once and kept, as pickles cannot be read in parts."""
        if self._entries_path != path:
            self._entries = _load_entries(path)
            self._entries_path = path
        if not 0 <= index < len(self._entries):
            raise ValueError(f'{path} has {len(self._entries)} entries only, and entry {index} was asked for')
        name = f'{path}, entry {index}'
        try:
            points, colors = points_of_entry(self._entries[index])
        except ValueError as error:
            raise ValueError(f'{name}: {error}') from error
        return checked_points(points, colors, name, self.num_points, np.random.default_rng(seed))

    def __repr__(self) -> str:
        return f'{type(self).__name__}(num_points={self.num_points}, up_axis={self.up_axis!r})'


def _load_entries(path: str) -> Any:
    if not Path(path).is_file():
        raise FileNotFoundError(f'there is no shape file {path}')
    try:
        entries = load_npy(path)
        problem = None if entries.ndim else 'it holds a single object'
    except Exception as error:  # a truncated file makes NumPy and pickle raise many kinds
        if is_error_of_machine(error):
            raise
        problem = str(error) or type(error).__name__
    if problem is not None:
        raise ValueError(f'{path} cannot be read: {problem}. It may be truncated.')
    return entries


@TRANSFORMS.register_module()
class LoadBuiltInShape(BaseTransform):
    """Transform that makes the points of a built-in object, as the loading transforms read those of a file.

    Required keys:
        category, shape_seed, num_points, scan_like: See :class:`BuiltInShapes`.
    Optional keys:
        edition: Edition of the objects, default 1.

    Added keys:
        points: float32 tensor (N, 3) in meters, z up.
        colors: uint8 array (N, 3), RGB of the points.
        complete_points: Points on the whole surface of the same object; the same tensor unless the object is a scan.
    """

    def transform(self, results: dict) -> dict:
        """Add the points to ``results``."""
        category, num_points, seed = results['category'], results['num_points'], tuple(results['shape_seed'])
        # The object is drawn before its sampling, so that one seed gives a scan and the surface of one object.
        edition = results.get('edition', 1)
        complete = sample_shape(category, np.random.default_rng(seed), num_points, edition=edition)
        shape = complete
        if results['scan_like']:
            shape = sample_shape(category, np.random.default_rng(seed), num_points, scan_like=True, edition=edition)
        results['complete_points'] = torch.from_numpy(complete.points)
        results['points'] = results['complete_points'] if shape is complete else torch.from_numpy(shape.points)
        results['colors'] = shape.colors
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}()'


@TRANSFORMS.register_module()
class LoadDepthViews(BaseTransform):
    """Transform that reads the depth views of an object, as the authors of OpenDlign released them.

    Required keys:
        depth_path: An .npy file: array (V, H, W, 3) or (V, H, W), uint8, or float in [0, 1] or [0, 255];
            background white, near is dark.

    Added keys:
        depth_views: float32 array (V, H, W) in [0, 1]; (V, 3, H, W) if the three channels differ.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file cannot be read, for example because it is truncated, or its array has another shape, dtype
            or range; the message names it.
    """

    def transform(self, results: dict) -> dict:
        """Add ``depth_views`` to ``results``."""
        results['depth_views'] = read_depth_views(results['depth_path'])
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}()'


@TRANSFORMS.register_module()
class LoadDepthAlignedImages(BaseTransform):
    """Transform that reads the depth-aligned images of an object, one for each of its depth views.

    Required keys:
        image_paths: V image files, in the order of the views.

    Added keys:
        images: uint8 array (V, H, W, 3), RGB.

    Raises:
        FileNotFoundError: A file is missing.
        ValueError: A file is not an image or truncated, or their sizes differ; the message names it.
    """

    def transform(self, results: dict) -> dict:
        """Add ``images`` to ``results``, unless it has ``image_features``, which replace them."""
        if 'image_features' not in results:
            results['images'] = read_aligned_images(results['image_paths'])
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}()'
