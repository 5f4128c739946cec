"""OpenDlign on ViT-H-14 (DFN-5B), the paper's largest model, aligned on the authors' training set.

The training set holds 52,470 models of ShapeNet with ten depth maps and ten images each.

    python tools/train.py configs/opendlign_h14.py --cfg-options data_root=data/opendlign
    python tools/test.py configs/opendlign_h14.py work_dirs/opendlign_h14/epoch_10.pth         # ModelNet40

open_clip downloads the CLIP; a local file instead: --cfg-options model.backbone.pretrained=open_clip_model.safetensors
Without ModelNet40: --cfg-options val_dataloader=None val_cfg=None val_evaluator=None
opendlign_h14_built_in.py needs neither data nor weights; benchmarks/ has the paper's other test sets.
"""
_base_ = [
    '_base_/default_runtime.py', '_base_/schedules/one_cycle_10e.py', '_base_/models/opendlign_h14.py']

# Has shapenet/{depth_map,depth_align_img} and modelnet40/depth_map.
data_root = 'data/opendlign'

model = _base_.opendlign

# Folder for the tokens of all that is frozen, computed once instead of in each epoch; None computes them each time.
token_dir = None
custom_hooks = [*_base_.custom_hooks, dict(type='StoredTokensHook', root=token_dir)]

train_pipeline = [
    dict(type='LoadDepthViews'),
    dict(type='LoadDepthAlignedImages'),
    dict(type='PackShapeInputs', depth_dtype='uint8')]
train_dataloader = dict(
    batch_size=128,
    num_workers=8,
    persistent_workers=False,
    pin_memory=True,
    collate_fn=dict(type='collate_shapes'),
    drop_last=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(
        type='DepthAlignedShapes',
        data_root=data_root,
        # List of the objects to train on, such as the authors' filter or tools/filter_images.py --keep-list makes.
        ann_file='',
        # Folder of tools/encode_images.py: features instead of images.
        image_features=None,
        pipeline=train_pipeline,
        # One unreadable image of half a million should not end a training.
        on_unreadable='skip'))

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

# Zero-shot accuracy after each epoch, as in the release.
val_dataloader = test_dataloader
val_cfg = dict(type='ReportingValLoop')
val_evaluator = test_evaluator
