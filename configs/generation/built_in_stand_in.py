"""All stages on built-in objects without any weights: procedural images instead of those of a diffusion model.

    python tools/project_depth.py built-in:5 data/built_in_depth --resolution 112
    python tools/generate_images.py configs/generation/built_in_stand_in.py
    python tools/filter_images.py configs/generation/built_in_stand_in.py --contact-sheet sheet.png
    python tools/train.py configs/opendlign_tiny_generated.py

``ShadedTextureGenerator`` shades the depth views and adds random textures: a smoke test of the stages, not a
replacement for a diffusion model. The filter uses the demonstration CLIP, which was trained on such images.
"""
_base_ = '../_base_/generation_defaults.py'

source = 'data/built_in_depth'
out_dir = 'data/built_in_aligned'
depth_shape = (10, 112, 112)
generator = dict(type='ShadedTextureGenerator')
filter = dict(
    _delete_=True,
    clip=dict(type='CLIPDepthBackbone', clip='opendlign-tiny', pretrained='builtin', num_blocks=0),
    template='a {}',
    max_rank=3)
