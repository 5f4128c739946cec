"""Draw the object that a record of ``BuiltInShapes`` names."""
import numpy as np
import torch
from mmcv.transforms import BaseTransform
from mmdet3d.registry import TRANSFORMS

from ..procedural import sample_shape


@TRANSFORMS.register_module()
class LoadBuiltInShape(BaseTransform):
    """Make the points of a built-in object, as loading transforms read those of a file.

    Required keys:
        category, shape_seed, num_points, scan_like: as :class:`BuiltInShapes` gives them.

    Added keys:
        points: float32 tensor (N, 3) in metres, z up.
        colors: uint8 array (N, 3), RGB of the points.
        complete_points: the whole surface of the same object; the same tensor unless the object is a scan.
    """

    def transform(self, results: dict) -> dict:
        """Add the points to ``results``."""
        category, num_points, seed = results['category'], results['num_points'], tuple(results['shape_seed'])
        # The object is drawn before its sampling, so that one seed gives a scan and the surface of one object.
        complete = sample_shape(category, np.random.default_rng(seed), num_points)
        shape = complete
        if results['scan_like']:
            shape = sample_shape(category, np.random.default_rng(seed), num_points, scan_like=True)
        results['complete_points'] = torch.from_numpy(complete.points)
        results['points'] = results['complete_points'] if shape is complete else torch.from_numpy(shape.points)
        results['colors'] = shape.colors
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}()'
