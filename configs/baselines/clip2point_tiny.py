"""CLIP2Point on the demonstration CLIP and the built-in objects: pre-training and zero-shot; minutes on two cores.

    python tools/train.py configs/baselines/clip2point_tiny.py
    python tools/test.py configs/baselines/clip2point_tiny.py work_dirs/clip2point_tiny/epoch_5.pth
"""
_base_ = [
    '../_base_/default_runtime.py', '../_base_/tiny_clip.py', '../_base_/datasets/built_in_shapes.py']

model = dict(
    type='CLIP2Point',
    backbone=dict(_base_.clip_backbone, type='CLIPTwinBackbone'),
    zero_shot_head=dict(type='ZeroShotHead', templates=_base_.templates, aggregation='sum', branches='tuned'),
    compare_pretrained=True)
cache_dir = 'work_dirs/cache'
view_projection = dict(type='RenderedDepthProjection', resolution=112)
train_projection = dict(view_projection, views='few_shot')
train_pipeline = [
    dict(
        type='DiskCache',
        transforms=[
            dict(type='LoadBuiltInShape'),
            dict(type='ProjectPointsToDepth', projection=train_projection),
            dict(type='GenerateImages', generator=dict(type='ShadedTextureGenerator'))],
        keys=['images'],
        cache_dir=cache_dir),
    dict(type='LoadBuiltInShape'),
    dict(type='SelectPoints', num_points=1024),
    dict(type='RenderDepthPair', projection=train_projection),
    dict(type='PackShapeInputs')]
train_dataloader = dict(
    batch_size=64,
    num_workers=2,
    persistent_workers=False,
    collate_fn=dict(type='collate_shapes'),
    drop_last=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(type='BuiltInShapes', split='train', num_per_category=40, pipeline=train_pipeline))
test_dataloader = dict(dataset=dict(
    num_points=1024,
    pipeline=[
        dict(
            type='DiskCache',
            transforms=[
                dict(type='LoadBuiltInShape'), dict(type='ProjectPointsToDepth', projection=view_projection)],
            keys=['depth_views'],
            cache_dir=cache_dir),
        dict(type='PackShapeInputs')]))
# Lamb's 6e-3 of the release is for batches of 256.
optim_wrapper = dict(type='OptimWrapper', optimizer=dict(type='Lamb', lr=2e-3, weight_decay=1e-4))
param_scheduler = [dict(type='CosineAnnealingLR', T_max=5, by_epoch=True, convert_to_iter_based=True)]
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=5)
