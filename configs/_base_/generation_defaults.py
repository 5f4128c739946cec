"""Defaults of the generation configs: input and output folders, the paper's prompts, and the filter."""
custom_imports = dict(imports=['opendlign_mm'], allow_failed_imports=False)

# Folder of tools/project_depth.py, or folder of <id>_dm.npy files with metadata = '{sample_id: text}.json'.
source = 'data/depth_views'
metadata = None
out_dir = 'data/depth_aligned'
# 'shards': WebDataset; 'folder': the layout of the authors' release (PNG).
layout = 'shards'
image_format = 'jpg'
image_quality = 95
# Objects in a shard, for a folder of _dm.npy files; a folder of tools/project_depth.py has its own number.
shapes_per_shard = 64
# (views, height, width) that depth views must have; None allows any.
depth_shape = (10, 224, 224)
seed = 0
# Images handed to the generator at a time; rounded up to whole passes of the networks (generator.pass_size).
batch_size = 64

# OpenDlign, table 6.
prompt = dict(
    main='A realistic {}.',
    positive='best quality, extremely realistic, very professional, extremely detailed, sharp edge, normal, complete',
    negative='low-resolution, very blurry, unrealistic, worst quality, deep depth of field, large depth of field, '
    'distorted, cropped, unusual, warped, incomplete')

# An object is kept if its own text is among the three best of all texts of the dataset, as in the release.
filter = dict(
    clip=dict(
        type='CLIPDepthBackbone', clip='ViT-L-14-quickgelu', pretrained='dfn2b', num_blocks=0, resize=True,
        pixel_mean=(0.48145466, 0.4578275, 0.40821073), pixel_std=(0.26862954, 0.26130258, 0.27577711)),
    template='a photo of a {}.',
    max_rank=3,
    min_score=None)
