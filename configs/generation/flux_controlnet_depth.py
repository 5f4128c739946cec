"""sd15_controlnet_depth.py with FLUX.1-dev and a depth ControlNet for it.

    python tools/generate_images.py configs/generation/flux_controlnet_depth.py --cfg-options source=data/my_depth

The guidance is distilled into the network, so there is no negative prompt.
"""
_base_ = 'sd15_controlnet_depth.py'

out_dir = 'data/depth_aligned_flux'
generator = dict(
    pipeline=dict(
        _delete_=True,
        type='FluxControlNetPipeline',
        pretrained='black-forest-labs/FLUX.1-dev',
        components=dict(
            controlnet=dict(type='FluxControlNetModel', pretrained='Shakker-Labs/FLUX.1-dev-ControlNet-Depth'))),
    prompt_outputs=('prompt_embeds', 'pooled_prompt_embeds', None),
    dtype='bfloat16',
    size=512,
    guidance_scale=3.5,
    control_strength=0.6,
    pass_size=4)
