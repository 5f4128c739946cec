"""Table 5, dlign-text & depth, second stage: opendlign_h14.py on the CLIP of opendlign_h14_dlign_text.py."""
_base_ = '../opendlign_h14.py'

model = dict(backbone=dict(pretrained='checkpoints/dlign_text_clip.pt'))
