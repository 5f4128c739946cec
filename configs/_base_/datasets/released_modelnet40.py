"""ModelNet40's 2,468 test objects: the depth maps of the authors' evaluation set."""
data_root = 'data/opendlign'

test_pipeline = [dict(type='LoadDepthViews'), dict(type='PackShapeInputs', depth_dtype='uint8')]
test_dataloader = dict(
    batch_size=16,
    num_workers=4,
    persistent_workers=False,
    pin_memory=True,
    collate_fn=dict(type='collate_shapes'),
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='ReleasedDepthMaps',
        data_root=data_root,
        dataset='modelnet40',
        pipeline=test_pipeline,
        test_mode=True))
test_cfg = dict(type='ReportingTestLoop')
test_evaluator = dict(type='ZeroShotAccuracy')
