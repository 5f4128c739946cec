"""CLIP2Point on OpenAI's ViT-B/32: `model` of classifiers, a part of detectors."""
clip2point = dict(
    type='CLIP2Point',
    backbone=dict(
        type='CLIPTwinBackbone',
        clip='ViT-B-32-quickgelu',
        pretrained='openai',
        # CLIP's own.
        pixel_mean=(0.48145466, 0.4578275, 0.40821073),
        pixel_std=(0.26862954, 0.26130258, 0.27577711)),
    zero_shot_head=dict(
        type='ZeroShotHead',
        templates=['image of a {}'],
        aggregation='sum',
        branches='tuned',
        text_cache_dir='work_dirs/cache/text'),
    encode_batch_size=64,
    # The metric then also reports CLIP's own tower on the depth maps.
    compare_pretrained=True)
