"""The demonstration CLIP: what both of its configs, alignment and detection, have to agree on."""
clip_backbone = dict(type='CLIPDepthBackbone', clip='opendlign-tiny', pretrained='builtin')
# Prompts in the words that this CLIP knows; the paper's have words that it does not.
templates = ('a depth map of a {}', 'a depth image of a {}', 'a gray {}', 'a silhouette of a {}', 'a 3D model of a {}')
# Its images have 112 pixels, half of CLIP's usual 224, and so a smaller neighborhood of a pixel.
projection = dict(resolution=112, depth_bins=32, densify_kernel=5, sigma_space=1.)
