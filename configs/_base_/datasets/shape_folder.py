"""Any folder of ply, obj, off, glb or npy files with one sub-folder for each class."""
data_root = 'data/shapes'
# A folder keeps the depth views: --cfg-options test_dataloader.dataset.pipeline.0.cache_dir=work_dirs/cache
cache_dir = None

test_pipeline = [
    dict(
        type='DiskCache',
        transforms=[
            dict(type='LoadShapePoints', num_points=10000),
            dict(type='ProjectPointsToDepth', projection=dict(resolution=224))],
        keys=['depth_views'],
        cache_dir=cache_dir),
    dict(type='PackShapeInputs')]
test_dataloader = dict(
    batch_size=16,
    num_workers=4,
    persistent_workers=False,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(type='ShapeFolder', data_root=data_root, pipeline=test_pipeline, test_mode=True))
# Files that cannot be read are left out, counted and listed at the end.
test_cfg = dict(type='SkipBrokenTestLoop')
test_evaluator = dict(type='ZeroShotAccuracy')
