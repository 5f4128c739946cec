"""ModelNet40 for PointCLIP, which takes the first 1,024 of 2,048 points: modelnet40_ply_hdf5_2048.

A config that takes it sets the pipeline. Another layout: --cfg-options test_dataloader.dataset.type=TYPE data_root=DIR
"""
data_root = 'data/modelnet40_ply_hdf5_2048'

test_dataloader = dict(
    batch_size=16,
    num_workers=4,
    persistent_workers=False,
    pin_memory=True,
    collate_fn=dict(type='collate_shapes'),
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(type='ModelNet40H5', data_root=data_root, test_mode=True))
test_cfg = dict(type='ReportingTestLoop')
test_evaluator = dict(type='ZeroShotAccuracy')
