"""OpenDlign on ViT-H-14-378 (DFN-5B), outside the paper: its largest model at more pixels; else as opendlign_h14.py."""
_base_ = 'opendlign_h14.py'

model = dict(backbone=dict(
    clip='ViT-H-14-378-quickgelu', pretrained='dfn5b', pixel_mean='clip', pixel_std='clip',
    # The released depth maps have 224 x 224 pixels.
    resize=True))
