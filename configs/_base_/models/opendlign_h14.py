"""OpenDlign on ViT-H-14 (DFN-5B), the paper's largest model: `model` of classifiers, a part of detectors.

open_clip downloads the weights; a local file instead: --cfg-options model.backbone.pretrained=FILE
"""
opendlign = dict(
    type='OpenDlign',
    backbone=dict(
        type='CLIPDepthBackbone',
        clip='ViT-H-14-quickgelu',
        pretrained='dfn5b',
        # ImageNet's statistics as in the authors' release, not those of CLIP.
        pixel_mean=(0.485, 0.456, 0.406),
        pixel_std=(0.229, 0.224, 0.225),
        # bfloat16 where the device gains by it: twice as fast, half the memory. 'fp32' is the release to the bit.
        precision='auto'),
    alignment_head=dict(type='DepthImageContrastiveHead', logit_scale='frozen', distance='mse', distance_weight=1.0),
    # The vocabulary is that of the dataset. Features of 1,156 classes x 80 templates take minutes, hence the cache.
    zero_shot_head=dict(
        type='ZeroShotHead', templates='depth', aggregation='softmax_sum', text_cache_dir='work_dirs/cache/text'),
    # The metric then also reports the pretrained CLIP without alignment.
    compare_pretrained=True)
