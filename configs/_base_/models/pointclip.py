"""PointCLIP on OpenAI's ResNet-50, zero-shot: `model` of classifiers, a part of detectors."""
pointclip = dict(
    type='PointCLIP',
    backbone=dict(
        type='CLIPDepthBackbone',
        clip='RN50-quickgelu',
        pretrained='openai',
        num_blocks=0,
        # The released code gives CLIP the depths themselves, which the projection divides by 4.
        pixel_mean=(0., 0., 0.),
        pixel_std=(0.25, 0.25, 0.25)),
    zero_shot_head=dict(
        type='WeightedViewHead',
        templates=['point cloud depth map of a {}.'],
        view_weights=None,
        text_cache_dir='work_dirs/cache/text'),
    encode_batch_size=64)
