"""Single objects as points, projected on the fly: what the datasets of point clouds share.

Keep the depth views from run to run: --cfg-options cache_dir=work_dirs/cache
Fewer views, evenly spaced: --cfg-options select_views="[{'type':'SelectViews','num_views':4}]"
"""
cache_dir = None
select_views = []

test_pipeline = [
    dict(
        type='DiskCache',
        transforms=[
            dict(type='LoadShapePoints', num_points=10000),
            dict(type='ProjectPointsToDepth', projection=dict(resolution=224))],
        keys=['depth_views'],
        cache_dir=cache_dir),
    *select_views,
    dict(type='PackShapeInputs', depth_dtype='uint8')]
test_dataloader = dict(
    batch_size=16,
    num_workers=4,
    persistent_workers=False,
    pin_memory=True,
    collate_fn=dict(type='collate_shapes'),
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(pipeline=test_pipeline, test_mode=True))
test_cfg = dict(type='ReportingTestLoop')
test_evaluator = dict(type='ZeroShotAccuracy')
