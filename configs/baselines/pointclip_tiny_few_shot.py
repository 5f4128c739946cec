"""PointCLIP's adapter on the demonstration CLIP and 16 built-in objects of each class; 15 minutes on one core.

    python tools/train.py configs/baselines/pointclip_tiny_few_shot.py
    python tools/test.py configs/baselines/pointclip_tiny_few_shot.py work_dirs/pointclip_tiny_few_shot/epoch_20.pth

Unlike pointclip_rn101_few_shot.py it has no augmentation, so that the views are made once, and Adam's larger steps.
"""
_base_ = ['pointclip_tiny.py']

model = dict(adapter=dict(type='InterViewAdapter', num_views=10), label_smoothing=0.2, compare_pretrained=True)
view_projection = dict(type='PointCLIPProjection', views='few_shot', resolution=112, output_resolution=112)
few_shot_pipeline = [
    dict(
        type='DiskCache',
        transforms=[dict(type='LoadBuiltInShape'), dict(type='ProjectPointsToDepth', projection=view_projection)],
        keys=['depth_views'],
        cache_dir=_base_.cache_dir),
    dict(type='PackShapeInputs')]
train_dataloader = dict(
    batch_size=32,
    num_workers=2,
    persistent_workers=False,
    collate_fn=dict(type='collate_shapes'),
    drop_last=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(
        type='FewShotSubset',
        shots=16,
        dataset=dict(
            type='BuiltInShapes', split='train', num_per_category=16, num_points=1024, pipeline=few_shot_pipeline)))
test_dataloader = dict(dataset=dict(pipeline=few_shot_pipeline))
optim_wrapper = dict(type='OptimWrapper', optimizer=dict(type='AdamW', lr=1e-3, weight_decay=5e-4))
param_scheduler = [dict(type='CosineAnnealingLR', T_max=20, by_epoch=True)]
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=20)
default_hooks = dict(checkpoint=dict(interval=10))
