"""Operations on point clouds that point networks are made of, on CPU and CUDA: torch and numba only."""
from .ball_query import ball_query
from .furthest_points import furthest_point_sample
from .grouping import gather_points, group_points
from .three_nn import interpolate_features, three_nn

__all__ = ['ball_query', 'furthest_point_sample', 'gather_points', 'group_points', 'interpolate_features', 'three_nn']
