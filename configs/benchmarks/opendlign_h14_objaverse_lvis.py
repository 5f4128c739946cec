"""OpenDlign on ViT-H-14: zero-shot classification of Objaverse-LVIS from points."""
_base_ = [
    '../_base_/default_runtime.py',
    '../_base_/models/opendlign_h14.py',
    '../_base_/datasets/objaverse_lvis.py']

model = _base_.opendlign
