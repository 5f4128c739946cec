"""What the configs of image generation share: where from, where to, the paper's prompts, and the filter."""
custom_imports = dict(imports=['opendlign_mm'], allow_failed_imports=False)

# A folder of tools/project_depth.py, or one of <id>_dm.npy files with metadata = '{sample_id: text}.json'.
source = 'data/depth_views'
metadata = None
out_dir = 'data/depth_aligned'
# 'shards': WebDataset; 'folder': as the authors released their images (PNG).
layout = 'shards'
image_format = 'jpg'
image_quality = 95
# Of a folder of _dm.npy files; a folder of tools/project_depth.py has its own.
shapes_per_shard = 64
# (views, height, width) that depth views must have; None allows any.
depth_shape = (10, 224, 224)
seed = 0
# Images handed over at a time, in whole passes of generator.pass_size, which is the networks' own batch.
batch_size = 64

prompt = dict(
    main='A realistic {}.',
    positive='best quality, extremely realistic, very professional, extremely detailed, sharp edge, normal, complete',
    negative='low-resolution, very blurry, unrealistic, worst quality, deep depth of field, large depth of field, '
    'distorted, cropped, unusual, warped, incomplete')

# An object is kept if its own text is among the three best of all the dataset's texts, as in the release.
filter = dict(
    clip=dict(
        type='CLIPDepthBackbone', clip='ViT-L-14-quickgelu', pretrained='dfn2b', num_blocks=0, resize=True,
        pixel_mean=(0.48145466, 0.4578275, 0.40821073), pixel_std=(0.26862954, 0.26130258, 0.27577711)),
    template='a photo of a {}.',
    max_rank=3,
    min_score=None)
