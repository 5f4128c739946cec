"""OpenDlign on ViT-L-14 (DFN-2B); everything else as in opendlign_h14.py."""
_base_ = 'opendlign_h14.py'

opendlign = dict(backbone=dict(clip='ViT-L-14-quickgelu', pretrained='dfn2b', precision='fp32'))
