"""OmniObject3D from 4,096 points of each object, projected on the fly."""
data_root = 'data/OmniObject3D'
# A folder keeps the depth views: --cfg-options test_dataloader.dataset.pipeline.0.cache_dir=work_dirs/cache
cache_dir = None

test_pipeline = [
    dict(
        type='DiskCache',
        transforms=[
            dict(type='LoadShapePoints', num_points=4096),
            dict(type='ProjectPointsToDepth', projection=dict(resolution=224))],
        keys=['depth_views'],
        cache_dir=cache_dir),
    dict(type='PackShapeInputs')]
test_dataloader = dict(
    batch_size=16,
    num_workers=4,
    persistent_workers=False,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(type='OmniObject3D', data_root=data_root, pipeline=test_pipeline, test_mode=True))
test_cfg = dict()
test_evaluator = dict(type='ZeroShotAccuracy')
