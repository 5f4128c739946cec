"""OpenDlign on ViT-H-14 (DFN-5B), the paper's largest model. open_clip downloads the weights, or give a local file."""
model = dict(
    type='OpenDlign',
    backbone=dict(
        type='CLIPDepthBackbone',
        clip='ViT-H-14-quickgelu',
        pretrained='dfn5b',
        # ImageNet's statistics, as in the authors' release, not CLIP's.
        pixel_mean=(0.485, 0.456, 0.406),
        pixel_std=(0.229, 0.224, 0.225)),
    alignment_head=dict(type='DepthImageContrastiveHead', logit_scale='frozen', distance='mse', distance_weight=1.0),
    # The vocabulary is that of the test set. Features of 1,156 classes x 80 templates take minutes: they are kept.
    zero_shot_head=dict(
        type='ZeroShotHead', templates='depth', aggregation='softmax_sum', text_cache_dir='work_dirs/cache/text'),
    encode_batch_size=64,
    # The metric then reports the frozen CLIP beside the aligned one.
    compare_pretrained=True)
