"""Pipeline transforms: files to points and views, points to depth views, and packing for the models."""
from .disk_cache import DiskCache
from .formatting import PackShapeInputs, SampleViews, SelectViews
from .generate_images import GenerateImages
from .loading import LoadBuiltInShape, LoadDepthAlignedImages, LoadDepthViews, LoadShapePoints
from .projecting import DepthViewToImage, ProjectPointsToDepth
from .scenes import CheckScenePoints, RandomCuboid

__all__ = ['CheckScenePoints', 'DepthViewToImage', 'DiskCache', 'GenerateImages', 'LoadBuiltInShape',
           'LoadDepthAlignedImages', 'LoadDepthViews', 'LoadShapePoints', 'PackShapeInputs', 'ProjectPointsToDepth',
           'RandomCuboid', 'SampleViews', 'SelectViews']
