"""OpenDlign on ViT-B-32: zero-shot classification of Objaverse-LVIS from points."""
_base_ = [
    '../_base_/zero_shot_runtime.py',
    '../_base_/models/opendlign_b32.py',
    '../_base_/datasets/objaverse_lvis.py']
