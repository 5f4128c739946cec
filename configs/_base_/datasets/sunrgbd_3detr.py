"""mmdet3d's SUN RGB-D with 3DETR's augmentation: flips, 30 degrees about z, scale, random cuboids, 20,000 points."""
_base_ = 'mmdet3d::_base_/datasets/sunrgbd-3d.py'

load_points = dict(type='LoadPointsFromFile', coord_type='DEPTH', load_dim=6, use_dim=[0, 1, 2])
sample_points = dict(type='PointSample', num_points=20000)
train_pipeline = [
    load_points,
    dict(type='CheckScenePoints'),
    dict(type='LoadAnnotations3D', with_bbox_3d=True, with_label_3d=True),
    dict(type='RandomFlip3D', sync_2d=False, flip_ratio_bev_horizontal=0.5),
    dict(type='GlobalRotScaleTrans', rot_range=[-0.523599, 0.523599], scale_ratio_range=[0.85, 1.15]),
    dict(type='RandomCuboid', min_points=30000, min_crop=0.75, max_crop=1.0, min_aspect=0.75),
    sample_points,
    dict(type='Pack3DDetInputs', keys=['points', 'gt_bboxes_3d', 'gt_labels_3d'])]
test_pipeline = [
    load_points,
    dict(type='CheckScenePoints'),
    sample_points,
    dict(type='Pack3DDetInputs', keys=['points'])]

scenes = dict(type='OpenVocabSUNRGBDDataset', on_unreadable='skip')
train_dataloader = dict(
    batch_size=8, persistent_workers=True, dataset=dict(times=1, dataset=dict(pipeline=train_pipeline, **scenes)))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline, **scenes))
test_dataloader = dict(dataset=dict(pipeline=test_pipeline, **scenes))
val_evaluator = [dict(type='OpenVocabIndoorMetric'), dict(type='ProposalRecall', max_proposals=(16, 64, 128))]
test_evaluator = val_evaluator
