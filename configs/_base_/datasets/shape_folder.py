"""Any folder of ply, obj, off, glb or npy files with one sub-folder for each class."""
_base_ = 'shape_points.py'

data_root = 'data/shapes'
test_dataloader = dict(dataset=dict(type='ShapeFolder', data_root=data_root, on_unreadable='skip'))
