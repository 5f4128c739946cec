"""OmniObject3D, 216 categories: the depth maps of the authors' evaluation set."""
_base_ = 'released_modelnet40.py'

test_dataloader = dict(dataset=dict(dataset='OmniObject3D'))
