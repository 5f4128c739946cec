"""Reading the points of a pipeline's results, whatever put them there."""
import numpy as np
import torch
from torch import Tensor


def point_coordinates(results: dict, key: str = 'points') -> Tensor:
    """Coordinates of ``results[key]``.

    Args:
        results: A pipeline's results; under ``key`` is a float tensor or array (N, >=3), or mmdet3d's ``BasePoints``.
        key: Where the points are.

    Returns:
        (N, 3) float32 tensor.

    Raises:
        ValueError: There are no points, or their shape is another one.
    """
    if key not in results:
        raise ValueError(f"the pipeline's results have no '{key}'; load them first, e.g. with LoadPointsFromFile "
                         f'(there are: {", ".join(sorted(results)) or "none"})')
    points = results[key]
    # BasePoints is told by its attribute, since importing it would import all of mmdet3d.
    points = points.coord if hasattr(points, 'coord') else points
    points = torch.from_numpy(points) if isinstance(points, np.ndarray) else points
    if not isinstance(points, Tensor) or points.ndim != 2 or points.shape[1] < 3:
        shape = tuple(points.shape) if isinstance(points, Tensor) else type(points).__name__
        raise ValueError(f"'{key}' must be (N, >=3) with x, y, z first, got {shape}")
    return points[:, :3].float()
