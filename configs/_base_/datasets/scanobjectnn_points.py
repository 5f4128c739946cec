"""ScanObjectNN without background (OBJ_ONLY) from 2,048 points of each test object.

With background: --cfg-options test_dataloader.dataset.ann_file=h5_files/main_split/test_objectdataset.h5
"""
_base_ = 'shape_points.py'

data_root = 'data/ScanObjectNN'
test_pipeline = _base_.test_pipeline
test_pipeline[0].transforms[0].num_points = 2048
test_dataloader = dict(dataset=dict(type='ScanObjectNN', data_root=data_root, pipeline=test_pipeline))
