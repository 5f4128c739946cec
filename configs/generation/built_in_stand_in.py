"""No weights needed: procedural pictures of built-in objects in the place of the diffusion model's.

    python tools/project_depth.py built-in:5 data/built_in_depth --resolution 112
    python tools/generate_images.py configs/generation/built_in_stand_in.py
    python tools/filter_images.py configs/generation/built_in_stand_in.py --contact-sheet sheet.png
    python tools/train.py configs/opendlign_tiny_generated.py

``ShadedTextureGenerator`` shades the depth views and puts random textures on them: it tries the stages out and is no
match for a diffusion model. The filter is the demonstration CLIP, which knows such pictures.
"""
_base_ = '../_base_/generation_runtime.py'

source = 'data/built_in_depth'
out_dir = 'data/built_in_aligned'
depth_shape = (10, 112, 112)
generator = dict(type='ShadedTextureGenerator')
filter = dict(
    _delete_=True,
    clip=dict(type='CLIPDepthBackbone', clip='opendlign-tiny', pretrained='builtin', num_blocks=0),
    template='a {}',
    max_rank=3)
