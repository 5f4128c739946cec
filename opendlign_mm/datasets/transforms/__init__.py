"""Pipeline transforms: files to points and views, points to depth views, and packing for the models."""
from .check_scene_points import CheckScenePoints
from .depth_view_to_image import DepthViewToImage
from .disk_cache import DiskCache
from .generate_images import GenerateImages
from .load_built_in_shape import LoadBuiltInShape
from .load_depth_aligned_images import LoadDepthAlignedImages
from .load_depth_views import LoadDepthViews
from .load_shape_points import LoadShapePoints
from .pack_shape_inputs import PackShapeInputs
from .project_points_to_depth import ProjectPointsToDepth
from .random_cuboid import RandomCuboid
from .sample_views import SampleViews

__all__ = ['CheckScenePoints', 'DepthViewToImage', 'DiskCache', 'GenerateImages', 'LoadBuiltInShape',
           'LoadDepthAlignedImages', 'LoadDepthViews', 'LoadShapePoints', 'PackShapeInputs', 'ProjectPointsToDepth',
           'RandomCuboid', 'SampleViews']
