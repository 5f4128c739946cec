"""opendlign_h14.py on the built-in objects with procedural images, for dry runs and as a start for data of your own.

Without weights or GPU, two iterations of two objects:

    python tools/train.py configs/opendlign_h14_built_in.py --cfg-options model.backbone.pretrained=None \
        train_cfg.max_epochs=1 train_dataloader.batch_size=2 train_dataloader.num_workers=1 \
        train_dataloader.dataset.num_per_category=1 train_dataloader.dataset.categories=chair,desk,bed,lamp
"""
_base_ = ['_base_/default_runtime.py', '_base_/schedules/one_cycle_10e.py', '_base_/models/opendlign_h14.py']

model = _base_.opendlign

projection = dict(resolution=224)
cache_dir = None

# Folder for the tokens of all that is frozen, computed once instead of in each epoch; None computes them each time.
token_dir = None
custom_hooks = [*_base_.custom_hooks, dict(type='StoredTokensHook', root=token_dir)]

train_pipeline = [
    dict(
        type='DiskCache',
        transforms=[
            dict(type='LoadBuiltInShape'),
            dict(type='ProjectPointsToDepth', projection=projection),
            dict(type='GenerateImages', generator=dict(type='ShadedTextureGenerator'))],
        keys=['depth_views', 'images'],
        cache_dir=cache_dir),
    dict(type='PackShapeInputs', depth_dtype='uint8')]
test_pipeline = [
    dict(type='LoadBuiltInShape'),
    dict(type='ProjectPointsToDepth', projection=projection),
    dict(type='PackShapeInputs', depth_dtype='uint8')]

train_dataloader = dict(
    batch_size=128,
    num_workers=4,
    persistent_workers=False,
    pin_memory=True,
    collate_fn=dict(type='collate_shapes'),
    drop_last=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(
        type='BuiltInShapes', split='train', num_per_category=100, num_points=10000, pipeline=train_pipeline))
test_dataloader = dict(
    batch_size=16,
    num_workers=4,
    persistent_workers=False,
    pin_memory=True,
    collate_fn=dict(type='collate_shapes'),
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(type='BuiltInShapes', split='test', num_per_category=20, num_points=10000, pipeline=test_pipeline))
test_cfg = dict(type='ReportingTestLoop')
test_evaluator = dict(type='ZeroShotAccuracy')
