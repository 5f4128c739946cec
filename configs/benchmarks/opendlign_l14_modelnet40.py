"""OpenDlign on ViT-L-14: zero-shot classification of ModelNet40 from the authors' depth maps."""
_base_ = [
    '../_base_/default_runtime.py',
    '../_base_/models/opendlign_l14.py',
    '../_base_/datasets/released_modelnet40.py']

model = _base_.opendlign
