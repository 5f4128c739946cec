r"""ULIP with PointBERT in the space of SLIP, trained on ShapeNet-55 and tested on ModelNet40.

    python tools/convert_checkpoint.py ulip checkpoint_pointbert.pt ulip.pth \
        --config configs/baselines/ulip_pointbert.py
    python tools/test.py configs/baselines/ulip_pointbert.py ulip.pth

The published file holds SLIP. A training starts from SLIP's own file:

    python tools/convert_checkpoint.py slip slip_base_100ep.pt slip.pt
    python tools/train.py configs/baselines/ulip_pointbert.py --cfg-options model.text_encoder.pretrained=slip.pt

ULIP's 64 templates: --cfg-options model.zero_shot_head.templates=ULIP/data/templates.json#modelnet40_64
"""
_base_ = '../_base_/default_runtime.py'

slip = dict(
    embed_dim=512,
    quick_gelu=True,
    vision_cfg=dict(
        timm_model_name='vit_base_patch16_224', timm_model_pretrained=False, timm_pool='token', timm_proj='linear',
        image_size=224),
    text_cfg=dict(context_length=77, vocab_size=49408, width=512, heads=8, layers=12))

model = dict(
    type='TriModalAligner',
    point_encoder=dict(type='PointBERT'),
    alignment_head=dict(
        type='TriModalContrastiveHead', init_logit_scale=1 / .07, max_logit_scale=100., gather_gradient=False),
    text_encoder=dict(
        type='CLIPDepthBackbone', clip='SLIP-ViT-B-16', model_config=slip, pretrained=None, num_blocks=0,
        pixel_mean='imagenet', pixel_std='imagenet'),
    zero_shot_head=dict(type='ZeroShotHead', templates='imagenet', aggregation='sum', branches='pretrained'))

# Has {train,test}.txt, taxonomy.json, shapenet_pc and rendered_images.
data_root = 'data/shapenet55'
train_pipeline = [
    dict(type='LoadShapePoints', num_points=8192),
    dict(type='DrawTextAndRendering'),
    dict(type='ArrangePoints', layout='y_up'),
    dict(type='AugmentPoints', up_axis='y'),
    dict(type='PackPointInputs', num_points=8192, use_colors=False)]
train_set = dict(
    type='ShapeNet55', data_root=data_root, data_prefix=dict(pts='shapenet_pc', img='rendered_images'),
    pipeline=train_pipeline, on_unreadable='skip')
train_dataloader = dict(
    batch_size=64,  # on each of 8 GPUs
    num_workers=8,
    persistent_workers=False,
    pin_memory=True,
    collate_fn=dict(type='collate_shapes'),
    drop_last=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    # ULIP trains on both lists.
    dataset=dict(type='ConcatDataset', datasets=[
        dict(train_set, ann_file='train.txt'), dict(train_set, ann_file='test.txt')]))

optim_wrapper = dict(
    type='AutocastOptimWrapper',
    optimizer=dict(type='AdamW', lr=3e-3, betas=(.9, .98), eps=1e-8, weight_decay=.1),
    paramwise_cfg=dict(norm_decay_mult=0., bias_decay_mult=0., custom_keys={'logit_scale': dict(decay_mult=0.)}))
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-6 / 3e-3, begin=0, end=1, by_epoch=True, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', eta_min=1e-5, begin=1, end=250, T_max=249, by_epoch=True,
         convert_to_iter_based=True)]
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=250)
auto_scale_lr = dict(enable=False, base_batch_size=512)

test_pipeline = [
    dict(type='LoadShapePoints', num_points=8192),
    dict(type='ArrangePoints', layout='y_up'),
    dict(type='PackPointInputs', num_points=8192, use_colors=False)]
test_dataloader = dict(
    batch_size=32,
    num_workers=4,
    persistent_workers=False,
    pin_memory=True,
    collate_fn=dict(type='collate_shapes'),
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='ModelNet40Resampled', data_root='data/modelnet40_normal_resampled', pipeline=test_pipeline,
        test_mode=True))
test_cfg = dict(type='ReportingTestLoop')
test_evaluator = dict(type='ZeroShotAccuracy')
