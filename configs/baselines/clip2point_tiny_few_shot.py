"""CLIP2Point's adapter on the demonstration CLIP and 16 built-in objects of each class; minutes on two cores.

The depth tower comes from clip2point_tiny.py, trained before (load_from):
    python tools/train.py configs/baselines/clip2point_tiny_few_shot.py
    python tools/test.py configs/baselines/clip2point_tiny_few_shot.py work_dirs/clip2point_tiny_few_shot/epoch_20.pth
"""
_base_ = ['clip2point_tiny.py']

model = dict(adapter=dict(type='DualPathAdapter', num_views=10))
few_shot_pipeline = [
    dict(
        type='DiskCache',
        transforms=[
            dict(type='LoadBuiltInShape'), dict(type='ProjectPointsToDepth', projection=_base_.train_projection)],
        keys=['depth_views'],
        cache_dir=_base_.cache_dir),
    dict(type='PackShapeInputs')]
train_dataloader = dict(
    batch_size=32,
    dataset=dict(
        _delete_=True,
        type='FewShotSubset',
        shots=16,
        dataset=dict(
            type='BuiltInShapes', split='train', num_per_category=16, num_points=1024, pipeline=few_shot_pipeline)))
test_dataloader = dict(dataset=dict(pipeline=few_shot_pipeline))
optim_wrapper = dict(_delete_=True, type='OptimWrapper', optimizer=dict(type='AdamW', lr=1e-3, weight_decay=1e-4))
param_scheduler = None
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=20)
default_hooks = dict(checkpoint=dict(interval=10))
load_from = 'work_dirs/clip2point_tiny/epoch_5.pth'
