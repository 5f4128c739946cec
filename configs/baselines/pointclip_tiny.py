"""PointCLIP on the demonstration CLIP and the built-in objects, zero-shot. No download, nothing to train.

    python tools/test.py configs/baselines/pointclip_tiny.py
    python tools/search_prompts.py configs/baselines/pointclip_tiny.py --val split=val --out search.json
    python tools/test.py configs/baselines/pointclip_tiny.py \
        --cfg-options model.zero_shot_head.view_weights=search.json

PointCLIP V2's views: --cfg-options view_projection._delete_=True \
        view_projection.type=RealisticProjection view_projection.output_resolution=112
"""
_base_ = [
    '../_base_/default_runtime.py', '../_base_/tiny_clip.py', '../_base_/datasets/built_in_shapes.py']

model = dict(
    type='PointCLIP',
    # Pixels as this CLIP was trained with them: it has seen white backgrounds and knows little of sparse depth maps.
    backbone=dict(_base_.clip_backbone, num_blocks=0),
    zero_shot_head=dict(type='WeightedViewHead', templates=_base_.templates))
cache_dir = 'work_dirs/cache'
view_projection = dict(type='PointCLIPProjection', resolution=64, output_resolution=112)
test_dataloader = dict(dataset=dict(
    num_points=1024,
    pipeline=[
        dict(
            type='DiskCache',
            transforms=[
                dict(type='LoadBuiltInShape'), dict(type='ProjectPointsToDepth', projection=view_projection)],
            keys=['depth_views'],
            cache_dir=cache_dir),
        dict(type='PackShapeInputs')]))
