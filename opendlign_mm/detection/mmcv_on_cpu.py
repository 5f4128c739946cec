"""mmcv's point operations on the CPU, for which mmcv 2.1 has CUDA kernels only."""
from collections.abc import Callable

from torch import Tensor

from ..point_ops import ball_query, furthest_point_sample, three_nn


def run_point_ops_on_cpu() -> None:
    """Let the point operations of mmcv that mmdet3d's detectors use take CPU tensors, in forward passes.

    Sampling, ball query, grouping, interpolation and points in boxes then run on the CPU, where they raised errors
    before; CUDA tensors take mmcv's kernels as ever. Calling it again changes nothing.
    """
    from mmcv import ops
    from mmcv.ops import ball_query as query  # BallQuery.apply; it hides the module of the same name
    from mmcv.ops.furthest_point_sample import FurthestPointSampling
    from mmcv.ops.gather_points import GatherPoints
    from mmcv.ops.group_points import GroupingOperation
    from mmcv.ops.three_interpolate import ThreeInterpolate
    from mmcv.ops.three_nn import ThreeNN
    from mmdet3d.structures.bbox_3d import base_box3d
    _take_over(FurthestPointSampling, _sample)
    _take_over(query.__self__, _query)
    _take_over(GatherPoints, _gather)
    _take_over(GroupingOperation, lambda features, indices, *_: _gather(features, indices))
    _take_over(ThreeNN, _nearest)
    _take_over(ThreeInterpolate, _interpolate)
    if base_box3d.points_in_boxes_all is ops.points_in_boxes_all:

        def points_in_boxes_all(points: Tensor, boxes: Tensor) -> Tensor:
            return (ops.points_in_boxes_all if points.is_cuda else ops.points_in_boxes_cpu)(points, boxes)

        base_box3d.points_in_boxes_all = points_in_boxes_all


def _take_over(function: type, on_cpu: Callable) -> None:
    """Have an autograd function of mmcv call ``on_cpu`` where no argument is on a CUDA device."""
    of_mmcv = function.forward
    if getattr(of_mmcv, 'also_on_cpu', False):
        return

    def forward(ctx, *arguments):
        if any(isinstance(argument, Tensor) and argument.is_cuda for argument in arguments):
            return of_mmcv(ctx, *arguments)
        return on_cpu(*arguments)

    forward.also_on_cpu = True
    function.forward = staticmethod(forward)


def _sample(xyz: Tensor, num_points: int) -> Tensor:
    return furthest_point_sample(xyz, num_points).int()


def _query(min_radius: float, max_radius: float, num_samples: int, xyz: Tensor, centers: Tensor, *counts) -> Tensor:
    if min_radius or any(count is not None for count in counts):
        raise NotImplementedError('on the CPU ball queries have no smallest radius and take batches of equal size')
    return ball_query(xyz, centers, max_radius, num_samples).int()


def _gather(features: Tensor, indices: Tensor) -> Tensor:
    """(B, C, N) at (B, ...) -> (B, C, ...)."""
    flat = indices.flatten(1).long()[:, None].expand(-1, features.shape[1], -1)
    return features.gather(2, flat).unflatten(2, indices.shape[1:])


def _nearest(targets: Tensor, sources: Tensor) -> tuple:
    distances, indices = three_nn(targets, sources)
    return distances, indices.int()


def _interpolate(features: Tensor, indices: Tensor, weights: Tensor) -> Tensor:
    return (_gather(features, indices) * weights[:, None]).sum(dim=-1)
