"""A small class-agnostic 3DETR-m for the built-in rooms, which trains on a CPU.

It proposes boxes to configs/opendlign_tiny_rooms_3detr.py. Unlike in the published models its queries start from
encoded features.

    python tools/make_rooms.py --out data/rooms --num-train 300 --num-val 24
    python tools/train.py configs/3detr_m_rooms.py
    python tools/test.py configs/3detr_m_rooms.py work_dirs/3detr_m_rooms/epoch_48.pth
"""
_base_ = '3detr_m_scannet.py'

data_root = 'data/rooms'

model = dict(
    num_classes=1,
    class_agnostic=True,
    num_queries=128,
    encoded_queries=True,
    set_abstraction=dict(num_points=512, radius=0.3, num_samples=16, channels=(32, 64, 128)),
    encoder=dict(
        dropout=0.,
        masking_radii=(0.4, 0.8, 1.2),
        downsampling=dict(num_points=256, radius=0.6, num_samples=32, channels=(128, 128, 128))),
    decoder=dict(num_layers=4, feedforward_channels=128, dropout=0.),
    branch_dropout=0.)

load_points = dict(type='LoadPointsFromFile', coord_type='DEPTH', load_dim=6, use_dim=[0, 1, 2])
sample_points = dict(type='PointSample', num_points=10000)
train_pipeline = [
    load_points,
    dict(type='CheckScenePoints'),
    dict(type='LoadAnnotations3D', with_bbox_3d=True, with_label_3d=True),
    dict(type='GlobalAlignment', rotation_axis=2),
    dict(type='RandomCuboid', min_points=15000),
    sample_points,
    dict(type='RandomFlip3D', sync_2d=False, flip_ratio_bev_horizontal=0.5, flip_ratio_bev_vertical=0.5),
    dict(type='GlobalRotScaleTrans', rot_range=[-0.087266, 0.087266], scale_ratio_range=[0.9, 1.1]),
    dict(type='Pack3DDetInputs', keys=['points', 'gt_bboxes_3d', 'gt_labels_3d'])]
test_pipeline = [
    load_points,
    dict(type='CheckScenePoints'),
    dict(type='GlobalAlignment', rotation_axis=2),
    sample_points,
    dict(type='Pack3DDetInputs', keys=['points'])]
scenes = dict(data_root=data_root)

train_dataloader = dict(
    batch_size=4, num_workers=1, dataset=dict(dataset=dict(pipeline=train_pipeline, **scenes)))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline, **scenes))
test_dataloader = dict(dataset=dict(pipeline=test_pipeline, **scenes))
val_evaluator = [dict(type='ProposalRecall', max_proposals=(16, 64, 128)), dict(type='ClassAgnosticAP')]
test_evaluator = val_evaluator

optim_wrapper = dict(optimizer=dict(lr=7e-4, weight_decay=0.05))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, begin=0, end=1, by_epoch=True, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', eta_min=1e-6, begin=1, end=48, T_max=47, by_epoch=True, convert_to_iter_based=True)]
train_cfg = dict(max_epochs=48, val_interval=6)
