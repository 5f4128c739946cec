"""CLIP2Point, few-shot classification of ModelNet40: the dual-path adapter on 16 objects of each class.

The depth tower comes from clip2point_b32.py, trained or converted (load_from):
    python tools/train.py configs/baselines/clip2point_b32_few_shot.py
    python tools/test.py configs/baselines/clip2point_b32_few_shot.py \
        work_dirs/clip2point_b32_few_shot/epoch_100.pth

The released adapter instead of a training:
    python tools/convert_checkpoint.py clip2point best_test.pth clip2point_few_shot.pth \
        --config configs/baselines/clip2point_b32_few_shot.py
"""
_base_ = [
    '../_base_/default_runtime.py', '../_base_/models/clip2point.py', '../_base_/schedules/clip2point_adapter.py']

model = dict(
    type='CLIP2Point',
    backbone=_base_.clip2point.backbone,
    zero_shot_head=_base_.clip2point.zero_shot_head,
    adapter=dict(type='DualPathAdapter', num_views=10),
    encode_batch_size=64)
data_root = 'data/ModelNet40'
projection = dict(type='RenderedDepthProjection', views='few_shot', yaw=90.)
pipeline = [
    dict(type='LoadShapePoints', num_points=1024),
    dict(type='ProjectPointsToDepth', projection=projection),
    dict(type='PackShapeInputs')]
train_dataloader = dict(
    batch_size=32,
    num_workers=4,
    persistent_workers=False,
    pin_memory=True,
    collate_fn=dict(type='collate_shapes'),
    drop_last=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(
        type='FewShotSubset',
        shots=16,
        dataset=dict(type='ModelNet40Meshes', data_root=data_root, split='train', pipeline=pipeline)))
test_dataloader = dict(
    batch_size=16,
    num_workers=4,
    persistent_workers=False,
    pin_memory=True,
    collate_fn=dict(type='collate_shapes'),
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(type='ModelNet40Meshes', data_root=data_root, pipeline=pipeline, test_mode=True))
test_cfg = dict(type='ReportingTestLoop')
test_evaluator = dict(type='ZeroShotAccuracy')
default_hooks = dict(checkpoint=dict(interval=20))
load_from = 'work_dirs/clip2point_b32/epoch_100.pth'
