"""The demonstration CLIP: what alignment and detection have to agree on."""
clip_backbone = dict(type='CLIPDepthBackbone', clip='opendlign-tiny', pretrained='builtin')
# Prompts in the words that this CLIP was trained on; those of the paper have others.
templates = ('a depth map of a {}', 'a depth image of a {}', 'a gray {}', 'a silhouette of a {}', 'a 3D model of a {}')
# Those of color views, which are photos.
photo_templates = ('a photo of a {}', 'a picture of a {}', 'an image of one {}', 'a realistic {}')
# Its images have 112 x 112 pixels, half of CLIP's usual 224, hence the smaller kernels.
projection = dict(resolution=112, depth_bins=32, densify_kernel=5, sigma_space=1.)
