"""Pipeline transforms: files to points and views, points to depth views, and packing for the models."""
from .check_scene_points import CheckScenePoints
from .depth_view_to_image import DepthViewToImage
from .disk_cache import DiskCache
from .formatting import PackShapeInputs
from .generate_images import GenerateImages
from .load_built_in_shape import LoadBuiltInShape
from .load_depth_aligned_images import LoadDepthAlignedImages
from .load_depth_views import LoadDepthViews
from .loading import LoadShapePoints
from .projecting import ProjectPointsToDepth
from .sample_views import SampleViews
from .scenes import RandomCuboid

__all__ = ['CheckScenePoints', 'DepthViewToImage', 'DiskCache', 'GenerateImages', 'LoadBuiltInShape',
           'LoadDepthAlignedImages', 'LoadDepthViews', 'LoadShapePoints', 'PackShapeInputs', 'ProjectPointsToDepth',
           'RandomCuboid', 'SampleViews']
