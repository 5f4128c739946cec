"""OpenDlign on ViT-B-32: zero-shot classification of Objaverse-LVIS from points."""
_base_ = [
    '../_base_/default_runtime.py',
    '../_base_/models/opendlign_b32.py',
    '../_base_/datasets/objaverse_lvis.py']

model = _base_.opendlign
