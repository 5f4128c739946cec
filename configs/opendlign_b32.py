"""OpenDlign on ViT-B-32 (DataComp-XL), trained on the data and with the schedule of opendlign_h14.py."""
_base_ = 'opendlign_h14.py'

model = dict(backbone=dict(clip='ViT-B-32', pretrained='datacomp_xl_s13b_b90k', precision='fp32'))
