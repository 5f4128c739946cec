"""CLIP2Point: pre-training on ShapeNet and zero-shot classification of ModelNet40 (49.38 % with the released weights).

    python tools/train.py configs/baselines/clip2point_b32.py --cfg-options shapenet_root=data/ShapeNetCore.v2
    python tools/test.py configs/baselines/clip2point_b32.py work_dirs/clip2point_b32/epoch_100.pth

The released depth tower instead of a training:
    python tools/convert_checkpoint.py clip2point best_eval.pth clip2point.pth \
        --config configs/baselines/clip2point_b32.py

The release trains on color renderings of ShapeNet's meshes. Here images of the same ten views are made of dense depth
maps. Ten views in the test as well: --cfg-options projection.views=few_shot
"""
_base_ = [
    '../_base_/default_runtime.py', '../_base_/models/clip2point.py', '../_base_/schedules/clip2point_pretraining.py']

model = _base_.clip2point
data_root = 'data/ModelNet40'
shapenet_root = 'data/ShapeNetCore.v2'
# Images of the training objects, about 1.5 MB each; None makes them in each epoch again.
cache_dir = 'work_dirs/cache'

# The release turns ModelNet40's meshes, ShapeNet's not.
projection = dict(type='RenderedDepthProjection', views='zero_shot', yaw=90.)
train_projection = dict(type='RenderedDepthProjection', views='few_shot')
train_pipeline = [
    dict(
        type='DiskCache',
        transforms=[
            dict(type='LoadShapePoints', num_points=10000),
            dict(type='ProjectPointsToDepth', projection=train_projection),
            dict(type='GenerateImages', generator=dict(type='ShadedTextureGenerator'))],
        keys=['images'],
        cache_dir=cache_dir),
    dict(type='LoadShapePoints', num_points=1024),
    dict(type='RenderDepthPair', projection=dict(views='few_shot'), distances=(0.9, 1.1)),
    dict(type='PackShapeInputs')]
train_dataloader = dict(
    batch_size=256,
    num_workers=8,
    persistent_workers=False,
    pin_memory=True,
    collate_fn=dict(type='collate_shapes'),
    drop_last=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(type='ShapeNetCore', data_root=shapenet_root, pipeline=train_pipeline, on_unreadable='skip'))
test_dataloader = dict(
    batch_size=16,
    num_workers=4,
    persistent_workers=False,
    pin_memory=True,
    collate_fn=dict(type='collate_shapes'),
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='ModelNet40Meshes',
        data_root=data_root,
        pipeline=[
            dict(type='LoadShapePoints', num_points=1024),
            dict(type='ProjectPointsToDepth', projection=projection),
            dict(type='PackShapeInputs')],
        test_mode=True))
test_cfg = dict(type='ReportingTestLoop')
test_evaluator = dict(type='ZeroShotAccuracy')
