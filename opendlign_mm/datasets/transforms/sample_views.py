"""Train on some of the views at a time."""
import numpy as np
from mmcv.transforms import BaseTransform
from mmdet3d.registry import TRANSFORMS


@TRANSFORMS.register_module()
class SampleViews(BaseTransform):
    """Keep a random choice of views, the same for depth views and images, in their order.

    An object's feature is the mean over its views (method, alignment), so fewer views make a noisier but cheaper step;
    over the epochs all are seen.

    Required keys:
        depth_views: array (V, H, W).
    Optional keys:
        images: array (V, H, W, 3).
        image_features: array (V, D).

    Args:
        num_views: Views to keep, 1 <= num_views <= V.

    Raises:
        ValueError: There are fewer views than ``num_views``.
    """

    def __init__(self, num_views: int) -> None:
        if num_views < 1:
            raise ValueError(f'num_views must be >= 1, got {num_views}')
        self.num_views = num_views

    def transform(self, results: dict) -> dict:
        """Reduce ``depth_views``, ``images`` and ``image_features``."""
        available = len(results['depth_views'])
        if available < self.num_views:
            raise ValueError(f'SampleViews(num_views={self.num_views}) got only {available} depth views')
        kept = np.sort(np.random.choice(available, self.num_views, replace=False))
        for key in ('depth_views', 'images', 'image_features'):
            if key in results:
                results[key] = results[key][kept]
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}(num_views={self.num_views})'
