"""OpenDlign on MobileCLIP2-B (DFNDR-2B), outside the paper, the fastest; data and schedule of opendlign_h14.py."""
_base_ = 'opendlign_h14.py'

model = dict(backbone=dict(
    clip='MobileCLIP2-B', pretrained='dfndr2b', pixel_mean='clip', pixel_std='clip'))
