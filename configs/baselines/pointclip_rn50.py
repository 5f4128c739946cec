"""PointCLIP, zero-shot classification of ModelNet40 (20.18 % published with searched view weights). Nothing to train.

    python tools/test.py configs/baselines/pointclip_rn50.py
    python tools/search_prompts.py configs/baselines/pointclip_rn50.py --val ann_file=train_files.txt --out search.json
    python tools/test.py configs/baselines/pointclip_rn50.py \
        --cfg-options model.zero_shot_head.view_weights=search.json

Other CLIPs: --cfg-options model.backbone.clip=RN101-quickgelu, ViT-B-16-quickgelu, ViT-B-32-quickgelu
"""
_base_ = [
    '../_base_/default_runtime.py', '../_base_/models/pointclip.py', '../_base_/datasets/modelnet40_1024.py']

model = _base_.pointclip
# ModelNet40's files are in the unit ball; other data needs normalize=True.
projection = dict(type='PointCLIPProjection', views='zero_shot', normalize=False)
test_dataloader = dict(
    dataset=dict(pipeline=[
        dict(type='LoadShapePoints'),
        dict(type='SelectPoints', num_points=1024),
        dict(type='ProjectPointsToDepth', projection=projection),
        dict(type='PackShapeInputs')]))
