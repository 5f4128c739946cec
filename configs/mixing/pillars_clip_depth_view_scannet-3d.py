"""PointPillars on ScanNet with CLIP features of the room's own depth view at each point.

Two components of this package work in a detector and a dataset that are mmdet3d's.

``ProjectPointsToDepth`` and ``DepthViewToImage`` give each scan a depth view from above as its image;
``CLIPDepthBackbone`` encodes it, with the attention of its last block trained along; mmdet3d's ``PointFusion`` looks up
each point's feature at the pixel where the point appears. No camera, photograph or calibration is needed.

    python tools/make_rooms.py --out data/rooms --num-train 100    # or prepare ScanNet as mmdet3d says
    python tools/train.py configs/mixing/pillars_clip_depth_view_scannet-3d.py --cfg-options data_root=data/rooms

To do the same in a config of your own, copy what is marked with (*).
"""
_base_ = ['mmdet3d::_base_/datasets/scannet-3d.py', 'mmdet3d::_base_/default_runtime.py']
custom_imports = dict(imports=['opendlign_mm'], allow_failed_imports=False)  # (*)

data_root = 'data/scannet/'
metainfo = _base_.metainfo
num_classes = 18
point_cloud_range = [-6.4, -6.4, -0.2, 6.4, 6.4, 2.8]
voxel_size = [0.1, 0.1, 3.0]

model = dict(
    type='MVXFasterRCNN',
    data_preprocessor=dict(
        type='Det3DDataPreprocessor',
        voxel=True,
        voxel_layer=dict(
            max_num_points=32, point_cloud_range=point_cloud_range, voxel_size=voxel_size, max_voxels=(16000, 16000)),
        # The backbone takes pixels in [0, 1] and normalizes them itself.  (*)
        mean=[0., 0., 0.],
        std=[255., 255., 255.],
        bgr_to_rgb=False,
        pad_size_divisor=1),
    img_backbone=dict(  # (*)
        type='CLIPDepthBackbone', clip='opendlign-tiny', pretrained='builtin', output='feature_map', resize=True),
    pts_voxel_encoder=dict(
        type='HardVFE',
        in_channels=3,
        feat_channels=[64],
        with_cluster_center=True,
        with_voxel_center=True,
        voxel_size=voxel_size,
        point_cloud_range=point_cloud_range,
        fusion_layer=dict(
            type='PointFusion',
            coord_type='DEPTH',
            img_channels=256,  # width of the CLIP
            pts_channels=64,
            mid_channels=64,
            out_channels=64,
            img_levels=[0])),
    pts_middle_encoder=dict(type='PointPillarsScatter', in_channels=64, output_shape=[128, 128]),
    pts_backbone=dict(
        type='SECOND', in_channels=64, layer_nums=[3, 5], layer_strides=[1, 2], out_channels=[64, 128]),
    pts_neck=dict(type='SECONDFPN', in_channels=[64, 128], upsample_strides=[1, 2], out_channels=[64, 64]),
    pts_bbox_head=dict(
        type='Anchor3DHead',
        num_classes=num_classes,
        in_channels=128,
        feat_channels=128,
        # ScanNet's boxes have no direction, but Anchor3DHead cannot be trained without its classifier.
        use_direction_classifier=True,
        assign_per_class=False,
        anchor_generator=dict(
            type='AlignedAnchor3DRangeGenerator',
            # Small things, chairs, tables, beds and tall furniture, standing on the floor.
            ranges=[[-6.4, -6.4, 0, 6.4, 6.4, 0]] * 5,
            sizes=[[.4, .4, .5], [.6, .6, .9], [1.2, .8, .75], [1.6, 2., .8], [1., .4, 1.8]],
            rotations=[0.],
            reshape_out=True),
        bbox_coder=dict(type='DeltaXYZWLHRBBoxCoder'),
        loss_cls=dict(type='mmdet.FocalLoss', use_sigmoid=True, gamma=2.0, alpha=0.25, loss_weight=1.0),
        loss_bbox=dict(type='mmdet.SmoothL1Loss', beta=1.0 / 9.0, loss_weight=2.0)),
    train_cfg=dict(
        pts=dict(
            assigner=dict(
                type='Max3DIoUAssigner',
                iou_calculator=dict(type='BboxOverlapsNearest3D'),
                pos_iou_thr=0.5,
                neg_iou_thr=0.35,
                min_pos_iou=0.2,
                ignore_iof_thr=-1),
            allowed_border=0,
            pos_weight=-1,
            debug=False)),
    test_cfg=dict(
        pts=dict(
            use_rotate_nms=False,
            nms_across_levels=False,
            nms_thr=0.25,
            score_thr=0.05,
            min_bbox_size=0,
            nms_pre=500,
            max_num=100)))

load_points = [
    dict(type='LoadPointsFromFile', coord_type='DEPTH', load_dim=6, use_dim=[0, 1, 2]),
    dict(type='LoadAnnotations3D', with_bbox_3d=True, with_label_3d=True),
    dict(type='GlobalAlignment', rotation_axis=2)]
depth_view = [  # (*) before anything that moves the points: mmdet3d's fusion layers undo such moves themselves
    dict(type='ProjectPointsToDepth', projection=dict(resolution=224, view_angles=(0, ), elevation=80.),
         with_matrices=True),
    dict(type='DepthViewToImage', view=0)]
train_pipeline = load_points + depth_view + [
    dict(type='RandomFlip3D', sync_2d=False, flip_ratio_bev_horizontal=0.5, flip_ratio_bev_vertical=0.5),
    dict(type='GlobalRotScaleTrans', rot_range=[-0.087266, 0.087266], scale_ratio_range=[0.95, 1.05]),
    dict(type='PointShuffle'),
    dict(type='Pack3DDetInputs', keys=['points', 'img', 'gt_bboxes_3d', 'gt_labels_3d'])]
test_pipeline = load_points[:1] + load_points[2:] + depth_view + [
    dict(type='Pack3DDetInputs', keys=['points', 'img'])]

train_dataloader = dict(
    batch_size=4,
    num_workers=2,
    dataset=dict(dataset=dict(data_root=data_root, pipeline=train_pipeline, filter_empty_gt=True)))
val_dataloader = dict(dataset=dict(data_root=data_root, pipeline=test_pipeline))
test_dataloader = val_dataloader

optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=0.001, weight_decay=0.01),
    paramwise_cfg=dict(custom_keys=dict(img_backbone=dict(lr_mult=0.1))),
    clip_grad=dict(max_norm=10, norm_type=2))
param_scheduler = [dict(type='CosineAnnealingLR', T_max=24, by_epoch=True, convert_to_iter_based=True)]
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=24, val_interval=4)
val_cfg = dict()
test_cfg = dict()
