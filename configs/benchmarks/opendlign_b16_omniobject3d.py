"""OpenDlign on ViT-B-16: zero-shot classification of OmniObject3D from the authors' depth maps."""
_base_ = [
    '../_base_/default_runtime.py',
    '../_base_/models/opendlign_b16.py',
    '../_base_/datasets/released_omniobject3d.py']

model = _base_.opendlign
