"""sd15_controlnet_depth.py with LCM-LoRA: 4 steps without guidance instead of 20 with it, on the paper's SD 1.5.

    python tools/generate_images.py configs/generation/sd15_lcm_lora_controlnet_depth.py

The LoRA (latent-consistency/lcm-lora-sdv1-5) is added to the weights of the UNet. It allows guidance up to 2, which
doubles the work (generator.guidance_scale=1.5 generator.pass_size=32); with 1 the negative prompt has no influence.
"""
_base_ = 'sd15_controlnet_depth.py'

out_dir = 'data/depth_aligned_lcm_lora'
generator = dict(
    pipeline=dict(
        loras=[dict(pretrained='latent-consistency/lcm-lora-sdv1-5')],
        components=dict(scheduler=dict(type='LCMScheduler'))),
    num_steps=4,
    guidance_scale=1.0,
    # Twice that of sd15_controlnet_depth.py takes as much memory, for want of guided halves.
    pass_size=64)
