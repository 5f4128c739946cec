"""CPU implementations of the point operations for which mmcv 2.1 has CUDA kernels only."""
from collections.abc import Callable

from torch import Tensor

from ..point_ops import ball_query, furthest_point_sample, three_nn


def run_point_ops_on_cpu() -> None:
    """Make the point operations of mmcv that mmdet3d's detectors use accept CPU tensors, in the forward pass only.

    Sampling, ball query, gathering, grouping, interpolation and points in boxes raise an error on the CPU otherwise.
    CUDA tensors still run mmcv's kernels. Repeated calls change nothing.
    """
    from mmcv import ops
    from mmcv.ops import ball_query as query  # BallQuery.apply, which hides the module of the same name
    from mmcv.ops.furthest_point_sample import FurthestPointSampling
    from mmcv.ops.gather_points import GatherPoints
    from mmcv.ops.group_points import GroupingOperation
    from mmcv.ops.three_interpolate import ThreeInterpolate
    from mmcv.ops.three_nn import ThreeNN
    from mmdet3d.structures.bbox_3d import base_box3d
    _add_cpu_forward(FurthestPointSampling, _sample)
    _add_cpu_forward(query.__self__, _query)
    _add_cpu_forward(GatherPoints, _gather)
    _add_cpu_forward(GroupingOperation, lambda features, indices, *_: _gather(features, indices))
    _add_cpu_forward(ThreeNN, _nearest)
    _add_cpu_forward(ThreeInterpolate, _interpolate)
    if base_box3d.points_in_boxes_all is ops.points_in_boxes_all:

        def points_in_boxes_all(points: Tensor, boxes: Tensor) -> Tensor:
            return (ops.points_in_boxes_all if points.is_cuda else ops.points_in_boxes_cpu)(points, boxes)

        base_box3d.points_in_boxes_all = points_in_boxes_all


def _add_cpu_forward(function: type, on_cpu: Callable) -> None:
    """Make an autograd function of mmcv call ``on_cpu`` if none of its arguments is on a CUDA device."""
    mmcv_forward = function.forward
    if getattr(mmcv_forward, 'also_on_cpu', False):
        return

    def forward(ctx, *arguments):
        if any(isinstance(argument, Tensor) and argument.is_cuda for argument in arguments):
            return mmcv_forward(ctx, *arguments)
        return on_cpu(*arguments)

    forward.also_on_cpu = True
    function.forward = staticmethod(forward)


def _sample(xyz: Tensor, num_points: int) -> Tensor:
    return furthest_point_sample(xyz, num_points).int()


def _query(min_radius: float, max_radius: float, num_samples: int, xyz: Tensor, centers: Tensor, *counts) -> Tensor:
    if min_radius or any(count is not None for count in counts):
        raise NotImplementedError('ball queries on the CPU support neither min_radius > 0 nor batches of scenes of '
                                  'different sizes; use a CUDA device')
    return ball_query(xyz, centers, max_radius, num_samples).int()


def _gather(features: Tensor, indices: Tensor) -> Tensor:
    """Return columns of (B, C, N) ``features`` at (B, ...) ``indices`` as (B, C, ...)."""
    flat = indices.flatten(1).long()[:, None].expand(-1, features.shape[1], -1)
    return features.gather(2, flat).unflatten(2, indices.shape[1:])


def _nearest(targets: Tensor, sources: Tensor) -> tuple[Tensor, Tensor]:
    distances, indices = three_nn(targets, sources)
    return distances, indices.int()


def _interpolate(features: Tensor, indices: Tensor, weights: Tensor) -> Tensor:
    return (_gather(features, indices) * weights[:, None]).sum(dim=-1)
