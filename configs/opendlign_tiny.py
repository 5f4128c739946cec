"""Align the packaged demonstration CLIP to depth views of built-in objects and classify unseen ones; no download.

    python tools/train.py configs/opendlign_tiny.py
    python tools/test.py configs/opendlign_tiny.py work_dirs/opendlign_tiny/epoch_10.pth

Test on scans instead of complete clouds: --cfg-options test_dataloader.dataset.scan_like=1.
Score with plain cosines as in the paper: --cfg-options model.zero_shot_head.aggregation=sum
Test with fewer views, evenly spaced: --cfg-options select_views="[{'type':'SelectViews','num_views':4}]"
Another seed for everything random: --cfg-options randomness.seed=1
"""
_base_ = [
    '_base_/default_runtime.py', '_base_/schedules/one_cycle_10e.py', '_base_/tiny_clip.py',
    '_base_/datasets/built_in_shapes.py']

model = dict(
    type='OpenDlign',
    backbone=_base_.clip_backbone,
    alignment_head=dict(type='DepthImageContrastiveHead', logit_scale='frozen', distance='mse'),
    # The vocabulary is that of the dataset.
    zero_shot_head=dict(type='ZeroShotHead', templates=_base_.templates, aggregation='softmax_sum'),
    # Used where views='color' or 'both' adds color views: opendlign_tiny_color.py.
    color_head=dict(templates=_base_.photo_templates),
    # The metric then also reports the pretrained CLIP without alignment.
    compare_pretrained=True)

# Depth views and images are made once and kept here, a few hundred MB; None makes them in each epoch again.
cache_dir = 'work_dirs/cache'
projection = _base_.projection
select_views = []

# Folder for the tokens of all that is frozen, computed once instead of in each epoch; None computes them each time.
token_dir = None
custom_hooks = [*_base_.custom_hooks, dict(type='StoredTokensHook', root=token_dir)]

train_pipeline = [
    dict(
        type='DiskCache',
        transforms=[
            dict(type='LoadBuiltInShape'),
            dict(type='ProjectPointsToDepth', projection=projection),
            # Images show the whole object, even where the points are a scan of one side.
            dict(type='ProjectPointsToDepth', projection=projection, points_key='complete_points',
                 depth_key='complete_depth_views'),
            dict(type='GenerateImages', generator=dict(type='ShadedTextureGenerator'),
                 depth_key='complete_depth_views')],
        keys=['depth_views', 'images'],
        cache_dir=cache_dir),
    # Four views per object instead of ten: two and a half times as many steps in the same time.
    dict(type='SampleViews', num_views=4),
    dict(type='PackShapeInputs', depth_dtype='uint8')]
test_pipeline = [
    dict(
        type='DiskCache',
        transforms=[dict(type='LoadBuiltInShape'), dict(type='ProjectPointsToDepth', projection=projection)],
        keys=['depth_views'],
        cache_dir=cache_dir),
    *select_views,
    dict(type='PackShapeInputs', depth_dtype='uint8')]

# The weights of this package were aligned with a fixed beta1.
param_scheduler = [dict(type='OneCycleLR', eta_max=3e-4, by_epoch=True, convert_to_iter_based=True)]

train_dataloader = dict(
    batch_size=64,
    num_workers=2,
    persistent_workers=False,
    collate_fn=dict(type='collate_shapes'),
    drop_last=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(type='BuiltInShapes', split='train', num_per_category=40, scan_like=.5, pipeline=train_pipeline))
test_dataloader = dict(dataset=dict(scan_like=0., pipeline=test_pipeline))
