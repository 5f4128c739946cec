"""Points of files of any format: clouds, meshes, RGB-D frames, and the frame that a scene is level in."""
from .formats import FORMATS
from .inputs import is_address, list_inputs
from .point_cloud import PointCloud, read_points

__all__ = ['FORMATS', 'PointCloud', 'is_address', 'list_inputs', 'read_points']
