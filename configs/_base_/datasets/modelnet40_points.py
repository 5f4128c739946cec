"""ModelNet40 from 10,000 points of each test object, projected on the fly: modelnet40_normal_resampled.

Other layouts: --cfg-options test_dataloader.dataset.type=TYPE data_root=DIR with TYPE one of ModelNet40H5
(modelnet40_ply_hdf5_2048), ModelNet40Meshes (the OFF files) and OpenShapeModelNet40.
"""
data_root = 'data/modelnet40_normal_resampled'
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
    dataset=dict(type='ModelNet40Resampled', data_root=data_root, pipeline=test_pipeline, test_mode=True))
test_cfg = dict()
test_evaluator = dict(type='ZeroShotAccuracy')
