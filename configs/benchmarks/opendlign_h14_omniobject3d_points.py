"""OpenDlign on ViT-H-14: zero-shot classification of OmniObject3D from points, projected on the fly."""
_base_ = [
    '../_base_/default_runtime.py',
    '../_base_/models/opendlign_h14.py',
    '../_base_/datasets/omniobject3d_points.py']

model = _base_.opendlign
