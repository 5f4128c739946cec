"""OpenDlign on ViT-B-16 (DFN-2B); everything else as in opendlign_h14.py."""
_base_ = 'opendlign_h14.py'

opendlign = dict(backbone=dict(clip='ViT-B-16', pretrained='dfn2b', precision='fp32'))
