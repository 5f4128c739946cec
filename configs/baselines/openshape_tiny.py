"""A small point encoder of OpenShape's kind in the space of the demonstration CLIP, on built-in objects; no download.

    python tools/train.py configs/baselines/openshape_tiny.py            # gray renderings in the place of images
    python tools/train.py configs/baselines/openshape_tiny_dlign.py      # depth-aligned images
    python tools/test.py configs/baselines/openshape_tiny.py work_dirs/openshape_tiny/epoch_10.pth

A demonstration of the commands: the objects, the images and the CLIP are toys, and so are the accuracies.
"""
_base_ = [
    '../_base_/default_runtime.py', '../_base_/tiny_clip.py', '../_base_/datasets/built_in_shapes.py']

model = dict(
    type='TriModalAligner',
    point_encoder=dict(
        type='PointPatchTransformer',
        scaling=1,
        out_channels=256,
        sizes=dict(embed_dims=128, depth=4, mlp_channels=512, num_patches=32, patch_size=32)),
    alignment_head=dict(type='TriModalContrastiveHead', init_logit_scale=14.28),
    text_encoder=dict(_base_.clip_backbone, num_blocks=0),
    zero_shot_head=dict(type='ZeroShotHead', templates=_base_.templates, aggregation='sum', branches='pretrained'))

# Images are made once and kept here, a few hundred MB; None makes them in each epoch again.
cache_dir = 'work_dirs/cache'
make_images = dict(
    type='DiskCache',
    transforms=[
        dict(type='LoadBuiltInShape'),
        dict(type='ProjectPointsToDepth', projection=_base_.projection),
        dict(type='GenerateImages', generator=dict(type='ShadedTextureGenerator'))],
    keys=['depth_views', 'images'],
    cache_dir=cache_dir)
train_pipeline = [
    make_images,
    dict(type='LoadBuiltInShape'),
    dict(type='ArrangePoints', layout='z_up'),
    dict(type='AugmentPoints', up_axis='z', dropout=.5, color_dropout=.5),
    dict(type='PackPointInputs', num_points=1000, num_images=1, text='a 3D model of a {}', images='depth_views')]
test_pipeline = [
    dict(type='LoadBuiltInShape'),
    dict(type='ArrangePoints', layout='z_up'),
    dict(type='PackPointInputs', num_points=1000)]

train_dataloader = dict(
    batch_size=64,
    num_workers=2,
    persistent_workers=False,
    collate_fn=dict(type='collate_shapes'),
    drop_last=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(type='BuiltInShapes', split='train', num_per_category=40, pipeline=train_pipeline))
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))

optim_wrapper = dict(type='AutocastOptimWrapper', optimizer=dict(type='AdamW', lr=1e-3, weight_decay=.01))
param_scheduler = [dict(type='OneCycleLR', eta_max=1e-3, by_epoch=True, convert_to_iter_based=True)]
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=10)
