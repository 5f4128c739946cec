"""Datasets of objects and rooms."""
from .collate import collate_shapes
from .generated import DepthAlignDataset
from .hard_negatives import NeighborGroups, collate_groups
from .modelnet40 import ModelNet40H5, ModelNet40Meshes, ModelNet40Resampled
from .omniobject3d import OmniObject3D
from .openshape import ObjaverseLVIS, OpenShapeModelNet40, OpenShapeTriplets
from .procedural.built_in_shapes import BuiltInShapes
from .released import DepthAlignedShapes, ReleasedDepthMaps
from .scanobjectnn import ScanObjectNN
from .shape_dataset import ShapeDataset
from .shape_folder import ShapeFolder
from .shapenet import ShapeNet55, ShapeNetCore
from .sweet_home3d import SweetHome3D
from .unreadable import collate_readable

__all__ = ['BuiltInShapes', 'DepthAlignDataset', 'DepthAlignedShapes', 'ModelNet40H5', 'ModelNet40Meshes',
           'ModelNet40Resampled', 'NeighborGroups', 'ObjaverseLVIS', 'OmniObject3D', 'OpenShapeModelNet40',
           'OpenShapeTriplets', 'ReleasedDepthMaps', 'ScanObjectNN', 'ShapeDataset', 'ShapeFolder', 'ShapeNet55',
           'ShapeNetCore', 'SweetHome3D', 'collate_groups', 'collate_readable', 'collate_shapes']
