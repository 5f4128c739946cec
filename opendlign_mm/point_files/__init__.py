"""Points of files of any format: clouds, meshes, RGB-D frames, and the frame that a scene is level in."""
from .addresses import fetch, is_address
from .formats import FORMATS
from .inputs import list_inputs
from .point_cloud import PointCloud, read_points
from .rgbd_frames import RGBDFrame
from .scene_frame import OrientedBoxes, SceneFrame, find_frame

__all__ = ['FORMATS', 'OrientedBoxes', 'PointCloud', 'RGBDFrame', 'SceneFrame', 'fetch', 'find_frame', 'is_address',
           'list_inputs', 'read_points']
