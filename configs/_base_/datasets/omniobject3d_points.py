"""OmniObject3D from 4,096 points of each object."""
_base_ = 'shape_points.py'

data_root = 'data/OmniObject3D'
test_pipeline = _base_.test_pipeline
test_pipeline[0].transforms[0].num_points = 4096
test_dataloader = dict(dataset=dict(type='OmniObject3D', data_root=data_root, pipeline=test_pipeline))
