"""PointCLIP V2 on OpenAI's ViT-B/16, zero-shot: `model` of classifiers, a part of detectors."""
pointclip_v2 = dict(
    type='PointCLIP',
    backbone=dict(
        type='CLIPDepthBackbone',
        clip='ViT-B-16-quickgelu',
        pretrained='openai',
        num_blocks=0,
        # The released code gives CLIP its depth maps in [0, 1] as they are.
        pixel_mean=None,
        pixel_std=None),
    zero_shot_head=dict(
        type='WeightedViewHead',
        templates=['point cloud depth map of a {}.'],
        view_weights='modelnet40_vit_b16',
        # JSON file: class name -> sentence or sentences.
        sentences=None,
        text_cache_dir='work_dirs/cache/text'),
    encode_batch_size=64)
# Ten views of 110 pixels, resized corner to corner.
pointclip_v2_projection = dict(type='RealisticProjection', output_resolution=224, align_corners=True)
