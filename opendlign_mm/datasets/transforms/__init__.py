"""Pipeline transforms: files to points and views, points to depth views, and packing for the models."""
from .coloring import DropColorViews, ProjectPointsToColor
from .compared import RandomAxisScaleShift, RenderDepthPair, SelectPoints
from .disk_cache import DiskCache
from .formatting import PackShapeInputs, SampleViews, SelectViews
from .generate_images import GenerateImages
from .loading import LoadBuiltInShape, LoadDepthAlignedImages, LoadDepthViews, LoadShapePoints
from .openshape import LoadOpenShapeObject
from .points import ArrangePoints, AugmentPoints, PackPointInputs
from .projecting import DepthViewToImage, ProjectPointsToDepth
from .rendering import RenderImages
from .scenes import CheckScenePoints, RandomCuboid
from .ulip import DrawTextAndRendering
from .varying import VaryShape

__all__ = ['ArrangePoints', 'AugmentPoints', 'CheckScenePoints', 'DepthViewToImage', 'DiskCache',
           'DrawTextAndRendering', 'DropColorViews', 'GenerateImages', 'LoadBuiltInShape', 'LoadDepthAlignedImages',
           'LoadDepthViews', 'LoadOpenShapeObject', 'LoadShapePoints', 'PackPointInputs', 'PackShapeInputs',
           'ProjectPointsToColor', 'ProjectPointsToDepth', 'RandomAxisScaleShift', 'RandomCuboid', 'RenderDepthPair',
           'RenderImages', 'SampleViews', 'SelectPoints', 'SelectViews', 'VaryShape']
