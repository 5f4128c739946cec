"""ModelNet40 from 10,000 points of each test object: modelnet40_normal_resampled.

Other layouts: --cfg-options test_dataloader.dataset.type=TYPE data_root=DIR, where TYPE is ModelNet40H5
(modelnet40_ply_hdf5_2048), ModelNet40Meshes (the OFF files) or OpenShapeModelNet40.
"""
_base_ = 'shape_points.py'

data_root = 'data/modelnet40_normal_resampled'
test_dataloader = dict(dataset=dict(type='ModelNet40Resampled', data_root=data_root))
