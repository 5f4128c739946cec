"""A depth view in the place of a photograph, for detectors that take points and an image."""
import numpy as np
from mmcv.transforms import BaseTransform
from mmdet3d.registry import TRANSFORMS


@TRANSFORMS.register_module()
class DepthViewToImage(BaseTransform):
    """Make one depth view the image of a multi-modal mmdet3d pipeline.

    It goes after ``ProjectPointsToDepth(with_matrices=True)`` and before transforms that move the points or the image:
    mmdet3d's fusion layers undo those themselves.

    Required keys:
        depth_views: float array (V, H, W) in [0, 1].
        depth_view_matrices: float array (V, 4, 4).

    Added keys:
        img: uint8 array (H, W, 3) in [0, 255], three equal channels.
        img_shape, ori_shape, pad_shape: (H, W).
        depth2img: float32 array (4, 4), from points to pixels (mmdet3d's 'DEPTH' coordinates).

    Args:
        view: Index of the view.

    Raises:
        ValueError: The required keys are absent or there is no such view.
    """

    def __init__(self, view: int = 0) -> None:
        self.view = view

    def transform(self, results: dict) -> dict:
        """Add ``img`` and ``depth2img`` to ``results``."""
        if 'depth_views' not in results or 'depth_view_matrices' not in results:
            raise ValueError("DepthViewToImage needs 'depth_views' and 'depth_view_matrices'; put "
                             'ProjectPointsToDepth(with_matrices=True) before it')
        num_views = len(results['depth_views'])
        if not 0 <= self.view < num_views:
            raise ValueError(f'view={self.view}, but the projection gives the views 0 to {num_views - 1}')
        view = results['depth_views'][self.view]
        results['img'] = np.repeat(np.rint(view * 255).astype(np.uint8)[..., None], 3, axis=-1)
        results['img_shape'] = results['ori_shape'] = results['pad_shape'] = view.shape
        results['depth2img'] = results['depth_view_matrices'][self.view]
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}(view={self.view})'
