"""Area shared by rotated rectangles, by Sutherland and Hodgman's clipping of all pairs at once; differentiable."""
import torch
from torch import Tensor


def rectangle_overlap(first: Tensor, second: Tensor) -> Tensor:
    """Area of the intersection of pairs of rectangles.

    Args:
        first: float (..., 5): x, y of the centre, both sizes, yaw in radians from +x towards +y.
        second: float (..., 5), broadcast against ``first``.

    Returns:
        float (...), >= 0, differentiable in both.
    """
    first, second = torch.broadcast_tensors(first, second)
    # In the frame of the second rectangle clipping is four comparisons with a coordinate.
    polygons = _corners(first, second)
    half_sizes = second[..., 2:4] / 2
    for axis in (0, 1):
        for sign in (1, -1):
            polygons = _clip(polygons, axis, sign, half_sizes[..., axis, None])
    x, y = polygons.unbind(dim=-1)
    return (x * y.roll(-1, dims=-1) - y * x.roll(-1, dims=-1)).sum(dim=-1).abs() / 2


def _corners(rectangles: Tensor, frames: Tensor) -> Tensor:
    """Corners (..., 4, 2) of ``rectangles`` in the frames of other rectangles, in order round the edge."""
    yaw = rectangles[..., 4] - frames[..., 4]
    signs = rectangles.new_tensor([[1, 1], [-1, 1], [-1, -1], [1, -1]])
    corners = _turn(signs * rectangles[..., None, 2:4] / 2, yaw[..., None])
    return corners + _turn(rectangles[..., :2] - frames[..., :2], -frames[..., 4])[..., None, :]


def _turn(xy: Tensor, angle: Tensor) -> Tensor:
    cos, sin = angle.cos(), angle.sin()
    return torch.stack([xy[..., 0] * cos - xy[..., 1] * sin, xy[..., 0] * sin + xy[..., 1] * cos], dim=-1)


def _clip(polygons: Tensor, axis: int, sign: int, limit: Tensor) -> Tensor:
    """Keep of convex polygons (..., n, 2) what has ``sign * coordinate <= limit``: (..., n + 1, 2).

    A polygon with fewer vertices repeats its last one, which changes neither its area nor later cuts.
    """
    beyond = sign * polygons[..., axis] - limit
    following, beyond_following = polygons.roll(-1, dims=-2), beyond.roll(-1, dims=-1)
    inside, crosses = beyond <= 0, (beyond <= 0) != (beyond_following <= 0)
    step = torch.where(crosses, beyond - beyond_following, 1)
    cuts = polygons + (beyond / step)[..., None] * (following - polygons)
    # Each vertex and the cut of the edge behind it, where they exist, moved to the front in order.
    vertices = torch.stack([polygons, cuts], dim=-2).flatten(-3, -2)
    exists = torch.stack([inside, crosses], dim=-1).flatten(-2)
    order = (~exists).to(torch.uint8).argsort(dim=-1, stable=True)
    last = exists.sum(dim=-1, keepdim=True).clamp(min=1) - 1
    places = torch.arange(polygons.shape[-2] + 1, device=polygons.device).expand(*last.shape[:-1], -1)
    order = order.gather(-1, places.minimum(last))
    return vertices.gather(-2, order[..., None].expand(*order.shape, 2))
