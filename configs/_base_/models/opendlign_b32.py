"""OpenDlign on ViT-B-32 (DataComp-XL); everything else as in opendlign_h14.py."""
_base_ = 'opendlign_h14.py'

opendlign = dict(backbone=dict(clip='ViT-B-32', pretrained='datacomp_xl_s13b_b90k', precision='fp32'))
