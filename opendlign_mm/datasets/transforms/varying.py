"""Copies of CAD models that differ from them, complete or as scans, inside a pipeline."""
import zlib

import numpy as np
import torch
from mmcv.transforms import BaseTransform
from mmdet3d.registry import TRANSFORMS

from ..deformation import deformed
from ..procedural.scan_simulation import seen_from_one_side


@TRANSFORMS.register_module()
class VaryShape(BaseTransform):
    """Transform that deforms an object a little, and keeps what one depth camera sees of some objects.

    What it does depends on ``sample_id`` and ``seed`` alone, so that it may stand inside a ``DiskCache``. Several
    copies of an object need several ``sample_id``, as :class:`SweetHome3D` gives them with ``copies``.

    Required keys:
        points: float tensor (N, 3), z up; dense ones, such as 20,000, make better scans.
        sample_id: Unique name of the object.
    Optional keys:
        colors: uint8 array (N, 3), RGB.

    Changed keys:
        points: float32 (num_points, 3), z up, centered, about 2 large.
        colors: Those of the points, uint8 (num_points, 3).

    Added keys:
        complete_points: Points on the whole surface of the same object, float32 (num_points, 3).

    Args:
        num_points: Number of points afterwards; repeated ones if there are fewer.
        scan_like: Share of objects that are seen from one side, in [0, 1].
        seed: Seed of all objects.

    Raises:
        ValueError: ``num_points`` is below 1, or ``scan_like`` outside [0, 1].
    """

    def __init__(self, num_points: int = 4000, scan_like: float = 0., seed: int = 0) -> None:
        if num_points < 1 or not 0 <= scan_like <= 1:
            raise ValueError(f'num_points must be >= 1 and scan_like in [0, 1], got {num_points} and {scan_like}')
        self.num_points, self.scan_like, self.seed = num_points, float(scan_like), seed

    def transform(self, results: dict) -> dict:
        """Change the points of ``results``."""
        rng = np.random.default_rng((self.seed, zlib.crc32(str(results['sample_id']).encode(errors='surrogatepass'))))
        is_scan = rng.random() < self.scan_like
        points = deformed(results['points'].numpy(), rng)
        chosen = rng.choice(len(points), self.num_points, replace=len(points) < self.num_points)
        complete = some = points[chosen]
        if is_scan:
            chosen, some = seen_from_one_side(points, self.num_points, rng)
        results['complete_points'] = torch.from_numpy(complete)
        results['points'] = torch.from_numpy(some.astype(np.float32))
        if results.get('colors') is not None:
            results['colors'] = results['colors'][chosen]
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}(num_points={self.num_points}, scan_like={self.scan_like}, seed={self.seed})'
