"""Objaverse-LVIS, 1,156 categories, from 10,000 points of each object as published by OpenShape.

If only a part of the archives is there: --cfg-options test_dataloader.dataset.skip_missing=True
"""
_base_ = 'shape_points.py'

data_root = 'data/openshape'
test_dataloader = dict(dataset=dict(type='ObjaverseLVIS', data_root=data_root))
# Unreadable objects are skipped, counted and listed at the end.
test_cfg = dict(type='SkipBrokenTestLoop')
