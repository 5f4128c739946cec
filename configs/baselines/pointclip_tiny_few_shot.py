"""PointCLIP's adapter on the demonstration CLIP and 16 built-in objects of each class; minutes on two cores.

    python tools/train.py configs/baselines/pointclip_tiny_few_shot.py
    python tools/test.py configs/baselines/pointclip_tiny_few_shot.py work_dirs/pointclip_tiny_few_shot/epoch_30.pth
"""
_base_ = ['pointclip_tiny.py']

model = dict(adapter=dict(type='InterViewAdapter', num_views=10), label_smoothing=0.2, compare_pretrained=True)
view_projection = dict(type='PointCLIPProjection', views='few_shot', resolution=112, output_resolution=112)
pack = [dict(type='ProjectPointsToDepth', projection=view_projection), dict(type='PackShapeInputs')]
train_dataloader = dict(
    batch_size=32,
    num_workers=2,
    persistent_workers=False,
    collate_fn=dict(type='collate_shapes'),
    drop_last=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(
        type='FewShotSubset',
        shots=16,
        dataset=dict(
            type='BuiltInShapes',
            split='train',
            num_per_category=16,
            num_points=1024,
            pipeline=[dict(type='LoadBuiltInShape'), dict(type='RandomAxisScaleShift'), *pack])))
test_dataloader = dict(dataset=dict(pipeline=[dict(type='LoadBuiltInShape'), *pack]))
optim_wrapper = dict(
    type='OptimWrapper', optimizer=dict(type='SGD', lr=0.01, momentum=0.9, weight_decay=5e-4))
param_scheduler = [dict(type='CosineAnnealingLR', T_max=30, by_epoch=True)]
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=30)
default_hooks = dict(checkpoint=dict(interval=10))
