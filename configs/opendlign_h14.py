"""OpenDlign on ViT-H-14 (DFN-5B), the paper's largest model: AdamW, one cycle with peak 3e-4, 10 epochs, batch 128.

The objects are the built-in ones with procedural pictures; point train_dataloader.dataset and test_dataloader.dataset
at your own for results that mean something. ``pretrained`` is downloaded by open_clip, or give a local file:

    python tools/train.py configs/opendlign_h14.py --cfg-options model.backbone.pretrained=open_clip_model.safetensors

A dry run without weights or GPU, two iterations of four objects:

    python tools/train.py configs/opendlign_h14.py --cfg-options model.backbone.pretrained=None train_cfg.max_epochs=1 \
        train_dataloader.batch_size=4 train_dataloader.dataset.num_per_category=1 \
        train_dataloader.dataset.categories=chair,table,desk,bed,sofa,lamp,cup,door
"""
_base_ = ['_base_/default_runtime.py', '_base_/schedules/one_cycle_10e.py']

class_names = ('chair', 'table', 'desk', 'bed', 'sofa', 'bookshelf', 'cabinet', 'door', 'window', 'bathtub', 'toilet',
               'sink', 'lamp', 'bottle', 'cup', 'monitor')

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
    zero_shot_head=dict(type='ZeroShotHead', class_names=class_names, templates='depth', aggregation='softmax_sum'),
    encode_batch_size=64,
    compare_frozen=True)

projection = dict(resolution=224)
cache_dir = None

train_pipeline = [
    dict(
        type='DiskCache',
        transforms=[
            dict(type='LoadBuiltInShape'),
            dict(type='ProjectPointsToDepth', projection=projection),
            dict(type='GenerateImages', generator=dict(type='ShadedTextureGenerator'))],
        keys=['depth_views', 'images'],
        cache_dir=cache_dir),
    dict(type='PackShapeInputs')]
test_pipeline = [
    dict(type='LoadBuiltInShape'),
    dict(type='ProjectPointsToDepth', projection=projection),
    dict(type='PackShapeInputs')]

train_dataloader = dict(
    batch_size=128,
    num_workers=4,
    persistent_workers=False,
    drop_last=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(
        type='BuiltInShapes', split='train', num_per_category=100, num_points=10000, pipeline=train_pipeline))
test_dataloader = dict(
    batch_size=16,
    num_workers=4,
    persistent_workers=False,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(type='BuiltInShapes', split='test', num_per_category=20, num_points=10000, pipeline=test_pipeline))
test_cfg = dict()
test_evaluator = dict(type='ZeroShotAccuracy')

# bfloat16 forward passes, on CPU as on CUDA.
optim_wrapper = dict(type='AutocastOptimWrapper')
