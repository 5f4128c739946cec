"""OpenDlign on ViT-L-14: zero-shot classification of Objaverse-LVIS from points."""
_base_ = [
    '../_base_/default_runtime.py',
    '../_base_/models/opendlign_l14.py',
    '../_base_/datasets/objaverse_lvis.py']

model = _base_.opendlign
