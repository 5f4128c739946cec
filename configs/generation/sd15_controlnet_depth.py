"""Depth-aligned images as in the paper: ControlNet 1.1 (depth) on Stable Diffusion 1.5, 20 DDIM steps, guidance 9.

    python tools/project_depth.py SHAPES data/my_depth
    python tools/generate_images.py configs/generation/sd15_controlnet_depth.py --cfg-options source=data/my_depth
    python tools/filter_images.py configs/generation/sd15_controlnet_depth.py --contact-sheet sheet.png

``pretrained`` may be a local folder. The weights (5 GB) are downloaded to the Hugging Face cache once.
"""
_base_ = '../_base_/generation_defaults.py'

generator = dict(
    type='DiffusionImageGenerator',
    pipeline=dict(
        type='StableDiffusionControlNetPipeline',
        pretrained='stable-diffusion-v1-5/stable-diffusion-v1-5',
        components=dict(
            controlnet=dict(type='ControlNetModel', pretrained='lllyasviel/control_v11f1p_sd15_depth'),
            scheduler=dict(type='DDIMScheduler'),
            # The safety checker blacks out harmless renderings.
            safety_checker=None),
        requires_safety_checker=False),
    size=256,
    output_size=224,
    num_steps=20,
    guidance_scale=9.0,
    control_strength=1.0,
    median_kernel=7,
    pass_size=32)
