"""OpenDlign on ViT-H-14: zero-shot classification of any folder of shapes: --cfg-options data_root=DIR."""
_base_ = [
    '../_base_/default_runtime.py',
    '../_base_/models/opendlign_h14.py',
    '../_base_/datasets/shape_folder.py']

model = _base_.opendlign
