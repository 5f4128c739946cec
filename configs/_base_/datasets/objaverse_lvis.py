"""Objaverse-LVIS, 1,156 categories, from 10,000 points of each object as published by OpenShape.

Objects whose file is missing, as with a part of the archives only, or unreadable are skipped, counted
(zero_shot/unreadable) and listed at the end.
"""
_base_ = 'shape_points.py'

data_root = 'data/openshape'
test_dataloader = dict(dataset=dict(type='ObjaverseLVIS', data_root=data_root, on_unreadable='skip'))
