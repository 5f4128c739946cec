"""ModelNet40 for point encoders: OpenShape's test objects with 10,000 points each, and the data that it publishes.

Other datasets: --cfg-options test_dataloader.dataset.type=ObjaverseLVIS test_dataloader.dataset.ann_file=\
meta_data/split/lvis.json, or ScanObjectNN, OmniObject3D, ... with their data_root.
"""
data_root = 'data/openshape'

test_pipeline = [
    dict(type='LoadShapePoints', num_points=10000),
    dict(type='ArrangePoints', layout='z_up_mirrored'),
    dict(type='PackPointInputs', num_points=10000)]
test_dataloader = dict(
    batch_size=32,
    num_workers=4,
    persistent_workers=False,
    pin_memory=True,
    collate_fn=dict(type='collate_shapes'),
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(type='OpenShapeModelNet40', data_root=data_root, pipeline=test_pipeline, test_mode=True))
test_cfg = dict(type='ReportingTestLoop')
test_evaluator = dict(type='ZeroShotAccuracy')
