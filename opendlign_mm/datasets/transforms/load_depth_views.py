"""Depth views that were made before."""
import numpy as np
from mmcv.transforms import BaseTransform
from mmdet3d.registry import TRANSFORMS

from ..source_files import required


@TRANSFORMS.register_module()
class LoadDepthViews(BaseTransform):
    """Read an object's depth views, as the authors of OpenDlign released them.

    Required keys:
        depth_path: An .npy file: array (V, H, W, 3) or (V, H, W), uint8, or float in [0, 1] or [0, 255];
            background white, near is dark.

    Added keys:
        depth_views: float32 array (V, H, W) in [0, 1]; (V, 3, H, W) where the three channels differ.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file cannot be read, for example because it is cut off, or its array is another one; the
            message names it.
    """

    def transform(self, results: dict) -> dict:
        """Add ``depth_views`` to ``results``."""
        path = required(results['depth_path'], 'A depth map of the data set is missing.')
        try:
            views, problem = np.load(path), None
        except (OSError, ValueError, EOFError) as error:
            views, problem = None, str(error)
        if problem is not None:
            raise ValueError(f'{path} cannot be read: {problem}. It may be cut off; fetch it again.')
        results['depth_views'] = _unit_views(views, str(path))
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}()'


def _unit_views(views: np.ndarray, name: str) -> np.ndarray:
    if views.ndim not in (3, 4) or views.size == 0 or views.ndim == 4 and views.shape[-1] not in (1, 3):
        raise ValueError(f'{name}: depth views must be (V, H, W, 3) or (V, H, W), got {views.shape}')
    if views.dtype == np.uint8:
        views = views.astype(np.float32) / 255
    elif np.issubdtype(views.dtype, np.floating):
        # A white background tells the ranges apart. Rounding may lead a little out; NaN fails both comparisons.
        white = 255 if views.max() > 254 else 1
        if not (views.min() >= -1e-3 * white and views.max() <= (1 + 1e-3) * white):
            raise ValueError(f'{name}: depth views of floats must lie in [0, 1] or [0, 255], got {views.min()} to '
                             f'{views.max()}')
        views = np.clip(views.astype(np.float32) / white, 0, 1)
    else:
        raise ValueError(f'{name}: depth views must be uint8 or float, got {views.dtype}')
    if views.ndim == 3:
        return views
    grey = np.ascontiguousarray(views[..., 0])
    return grey if (views == views[..., :1]).all() else np.ascontiguousarray(views.transpose(0, 3, 1, 2))
