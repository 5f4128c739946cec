"""sd15_controlnet_depth.py with Stable Diffusion XL and its depth ControlNet, at 1024 x 1024 pixels.

    python tools/generate_images.py configs/generation/sdxl_controlnet_depth.py --cfg-options source=data/my_depth

The pipeline has two text encoders; prompt_outputs names the four values that its encode_prompt returns.
"""
_base_ = 'sd15_controlnet_depth.py'

out_dir = 'data/depth_aligned_sdxl'
generator = dict(
    pipeline=dict(
        _delete_=True,
        type='StableDiffusionXLControlNetPipeline',
        pretrained='stabilityai/stable-diffusion-xl-base-1.0',
        components=dict(
            controlnet=dict(type='ControlNetModel', pretrained='diffusers/controlnet-depth-sdxl-1.0'),
            scheduler=dict(type='DDIMScheduler'))),
    prompt_outputs=('prompt_embeds', None, 'pooled_prompt_embeds', None),
    size=1024,
    guidance_scale=5.0,
    pass_size=8)
