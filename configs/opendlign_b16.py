"""OpenDlign on ViT-B-16 (DFN-2B), trained on the data and with the schedule of opendlign_h14.py."""
_base_ = 'opendlign_h14.py'

model = dict(backbone=dict(clip='ViT-B-16', pretrained='dfn2b', precision='fp32'))
