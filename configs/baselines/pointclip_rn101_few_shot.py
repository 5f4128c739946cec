"""PointCLIP, few-shot classification of ModelNet40: the inter-view adapter on 16 objects of each class (86.71 %).

    python tools/train.py configs/baselines/pointclip_rn101_few_shot.py
    python tools/test.py configs/baselines/pointclip_rn101_few_shot.py \
        work_dirs/pointclip_rn101_few_shot/epoch_250.pth

The released adapter instead of a training:
    python tools/convert_checkpoint.py pointclip model-best.pth.tar pointclip_rn101.pth \
        --config configs/baselines/pointclip_rn101_few_shot.py
Other numbers: --cfg-options train_dataloader.dataset.shots=8 train_dataloader.dataset.seed=1
"""
_base_ = [
    '../_base_/default_runtime.py', '../_base_/models/pointclip.py', '../_base_/datasets/modelnet40_1024.py',
    '../_base_/schedules/pointclip_adapter.py']

data_root = 'data/modelnet40_ply_hdf5_2048'
model = dict(
    type='PointCLIP',
    backbone=dict(_base_.pointclip.backbone, clip='RN101-quickgelu'),
    zero_shot_head=dict(_base_.pointclip.zero_shot_head, templates=['point cloud of a big {}.']),
    adapter=dict(type='InterViewAdapter', num_views=10),
    label_smoothing=0.2,
    encode_batch_size=64,
    # The metric then also reports the model without the adapter.
    compare_pretrained=True)
projection = dict(type='PointCLIPProjection', views='few_shot', normalize=False)
load = [dict(type='LoadShapePoints'), dict(type='SelectPoints', num_points=1024)]
pack = [dict(type='ProjectPointsToDepth', projection=projection), dict(type='PackShapeInputs')]
train_dataloader = dict(
    batch_size=32,
    num_workers=4,
    persistent_workers=False,
    pin_memory=True,
    collate_fn=dict(type='collate_shapes'),
    # The last batch may have a single object, which BatchNorm cannot take.
    drop_last=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(
        type='FewShotSubset',
        shots=16,
        dataset=dict(
            type='ModelNet40H5',
            data_root=data_root,
            ann_file='train_files.txt',
            pipeline=[*load, dict(type='RandomAxisScaleShift'), *pack])))
test_dataloader = dict(dataset=dict(data_root=data_root, pipeline=[*load, *pack]))
default_hooks = dict(checkpoint=dict(interval=50))
