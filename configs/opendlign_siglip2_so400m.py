"""OpenDlign on ViT-SO400M-14-SigLIP2 (WebLI), outside the paper; data and schedule of opendlign_h14.py.

Its tokenizer, that of Gemma, is downloaded from the Hugging Face hub by its first use. It reads 64 tokens of a text in
lower case without punctuation, which open_clip sees to.
"""
_base_ = 'opendlign_h14.py'

model = dict(
    backbone=dict(clip='ViT-SO400M-14-SigLIP2', pretrained='webli', pixel_mean='clip', pixel_std='clip'),
    # The prompt that its authors recommend for photos, and CLIP's.
    color_head=dict(templates=('this is a photo of {}.', 'a photo of a {}.', 'a photo of one {}.')))
