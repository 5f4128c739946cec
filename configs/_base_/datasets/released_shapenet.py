"""The authors' training set, 52,470 models of ShapeNet with ten depth maps and images each; ModelNet40 to test.

Both lie below one folder: <data_root>/shapenet/{depth_map,depth_align_img} and <data_root>/modelnet40/depth_map.
"""
_base_ = 'released_modelnet40.py'

train_pipeline = [
    dict(type='LoadDepthViews'),
    dict(type='LoadDepthAlignedImages'),
    dict(type='PackShapeInputs')]
train_dataloader = dict(
    batch_size=128,
    num_workers=8,
    persistent_workers=False,
    drop_last=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(
        type='DepthAlignedShapes',
        data_root=_base_.data_root,
        pipeline=train_pipeline,
        # One unreadable picture of half a million should not end a training.
        skip_broken=True))
