"""sd15_controlnet_depth.py with a latent consistency model: 4 steps instead of 20, each without a guided half.

    python tools/generate_images.py configs/generation/sd15_lcm_controlnet_depth.py --cfg-options source=data/my_depth

A tenth of the operations of the networks. The UNet is distilled from DreamShaper 7, a fine-tuned SD 1.5; the scale of
guidance is one of its inputs, so the words of the negative prompt have no influence. Not the paper's images.
"""
_base_ = 'sd15_controlnet_depth.py'

out_dir = 'data/depth_aligned_lcm'
generator = dict(
    pipeline=dict(
        pretrained='SimianLuo/LCM_Dreamshaper_v7',
        components=dict(scheduler=dict(type='LCMScheduler'))),
    num_steps=4,
    guidance_scale=8.0,
    # Twice that of sd15_controlnet_depth.py takes as much memory, for want of guided halves.
    pass_size=64)
