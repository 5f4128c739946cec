"""ScanObjectNN without background (OBJ_ONLY) from 2,048 points of each test object, projected on the fly.

With background: --cfg-options test_dataloader.dataset.ann_file=h5_files/main_split/test_objectdataset.h5
"""
data_root = 'data/ScanObjectNN'
# A folder keeps the depth views: --cfg-options test_dataloader.dataset.pipeline.0.cache_dir=work_dirs/cache
cache_dir = None

test_pipeline = [
    dict(
        type='DiskCache',
        transforms=[
            dict(type='LoadShapePoints', num_points=2048),
            dict(type='ProjectPointsToDepth', projection=dict(resolution=224))],
        keys=['depth_views'],
        cache_dir=cache_dir),
    dict(type='PackShapeInputs')]
test_dataloader = dict(
    batch_size=16,
    num_workers=4,
    persistent_workers=False,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(type='ScanObjectNN', data_root=data_root, pipeline=test_pipeline, test_mode=True))
test_cfg = dict()
test_evaluator = dict(type='ZeroShotAccuracy')
