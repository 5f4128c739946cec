"""ScanObjectNN's test objects without background (OBJ_ONLY): the depth maps of the authors' evaluation set."""
_base_ = 'released_modelnet40.py'

test_dataloader = dict(dataset=dict(dataset='scanobjectnn'))
