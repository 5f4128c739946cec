"""Pick points and features by index."""
from torch import Tensor


def gather_points(values: Tensor, indices: Tensor) -> Tensor:
    """Rows of each set.

    Args:
        values: (B, N, C).
        indices: int64 (B, M), in [0, N).

    Returns:
        (B, M, C); gradients flow to ``values``.
    """
    return values.gather(1, indices[..., None].expand(-1, -1, values.shape[2]))


def group_points(values: Tensor, indices: Tensor) -> Tensor:
    """Rows of each set, in groups.

    Args:
        values: (B, N, C).
        indices: int64 (B, M, S), in [0, N), as :func:`ball_query` gives them.

    Returns:
        (B, M, S, C); gradients flow to ``values``.
    """
    return gather_points(values, indices.flatten(1)).unflatten(1, indices.shape[1:])
