"""Point operations that networks are built from, on CPU and CUDA.

They need torch and numba; mmcv's CUDA kernels are used where mmcv is installed with them.
"""
from .ball_query import ball_query, gather_points, group_points
from .furthest_points import furthest_point_sample
from .three_nn import interpolate_features, three_nn

__all__ = ['ball_query', 'furthest_point_sample', 'gather_points', 'group_points', 'interpolate_features', 'three_nn']
