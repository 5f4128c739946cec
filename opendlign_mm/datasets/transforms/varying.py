"""Objects of training that vary: deformed copies of CAD models, complete or as scans, and sparse points."""
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
        rng = _generator(results, self.seed)
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


@TRANSFORMS.register_module()
class ThinPoints(BaseTransform):
    """Transform that leaves some objects few points, as an object of a scanned room has.

    An object of a room of 40,000 points has a hundred to some thousands. The number of points that are left is drawn
    evenly on a logarithmic scale. What it does depends on ``sample_id`` and ``seed`` alone, so that it may stand inside
    a ``DiskCache``. The key ``complete_points`` stays as it is.

    Required keys:
        points: Points, float tensor (N, C).
        sample_id: Unique name of the object.
    Optional keys:
        colors: Those of the points, uint8 array (N, 3).

    Modified keys:
        points: A random choice of them, (M, C) with ``min_points`` <= M <= N.
        colors: Those of the choice.

    Args:
        min_points: Least number of points that are left; an object with fewer keeps all.
        share: Share of objects that lose points, in [0, 1].
        seed: Seed of all objects.

    Raises:
        ValueError: ``min_points`` is below 1, or ``share`` outside [0, 1].
    """

    def __init__(self, min_points: int = 100, share: float = .5, seed: int = 0) -> None:
        if min_points < 1 or not 0 <= share <= 1:
            raise ValueError(f'min_points must be >= 1 and share in [0, 1], got {min_points} and {share}')
        self.min_points, self.share, self.seed = min_points, float(share), seed

    def transform(self, results: dict) -> dict:
        """Choose some of the points of ``results``."""
        points, rng = results['points'], _generator(results, self.seed)
        if rng.random() < self.share and len(points) > self.min_points:
            count = round(np.exp(rng.uniform(np.log(self.min_points), np.log(len(points)))))
            chosen = rng.choice(len(points), count, replace=False)
            results['points'] = points[torch.from_numpy(chosen)]
            if results.get('colors') is not None:
                results['colors'] = results['colors'][chosen]
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}(min_points={self.min_points}, share={self.share}, seed={self.seed})'


def _generator(results: dict, seed: int) -> np.random.Generator:
    """Return the generator of random numbers of an object."""
    return np.random.default_rng((seed, zlib.crc32(str(results['sample_id']).encode(errors='surrogatepass'))))
