"""CLIP2Point on OpenAI's ViT-B/32: `model` of classifiers, a part of detectors."""
clip2point = dict(
    type='CLIP2Point',
    backbone=dict(
        type='CLIPTwinBackbone',
        clip='ViT-B-32-quickgelu',
        pretrained='openai',
        pixel_mean='clip',
        pixel_std='clip'),
    zero_shot_head=dict(
        type='ZeroShotHead',
        templates=['image of a {}'],
        aggregation='sum',
        branches='tuned',
        text_cache_dir='work_dirs/cache/text'),
    encode_batch_size=64,
    # The metric then also reports CLIP's own tower on the depth maps.
    compare_pretrained=True)
