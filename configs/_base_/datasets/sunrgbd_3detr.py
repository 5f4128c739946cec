"""SUN RGB-D with 3DETR's augmentation: flips, 30 degrees about z, scale, random cuboids, 20,000 points."""
data_root = 'data/sunrgbd'

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

# The order of the published models. mmdet3d's inferencers use it if a checkpoint does not name its classes.
class_names = ('bed', 'table', 'sofa', 'chair', 'toilet', 'desk', 'dresser', 'night_stand', 'bookshelf', 'bathtub')
scenes = dict(
    type='OpenVocabSUNRGBDDataset',
    data_root=data_root,
    metainfo=dict(classes=class_names),
    box_type_3d='Depth',
    on_unreadable='skip')
train_dataloader = dict(
    batch_size=8,
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(
        type='RepeatDataset',
        times=1,
        dataset=dict(ann_file='sunrgbd_infos_train.pkl', pipeline=train_pipeline, filter_empty_gt=False, **scenes)))
val_dataloader = dict(
    batch_size=1,
    num_workers=1,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(ann_file='sunrgbd_infos_val.pkl', pipeline=test_pipeline, test_mode=True, **scenes))
test_dataloader = val_dataloader
val_evaluator = [dict(type='OpenVocabIndoorMetric'), dict(type='ProposalRecall', max_proposals=(16, 64, 128))]
test_evaluator = val_evaluator
