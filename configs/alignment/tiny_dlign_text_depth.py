"""Table 5, dlign-text & depth, of the demonstration model, second stage: on the CLIP of tiny_dlign_text.py."""
_base_ = '../opendlign_tiny.py'

model = dict(backbone=dict(
    pretrained='work_dirs/tiny_dlign_text/clip.safetensors', pixel_mean='imagenet', pixel_std='imagenet'))
