"""PointCLIP V2, zero-shot classification of ModelNet40 (64.22 % in the paper with its sentences). Nothing to train.

    python tools/test.py configs/baselines/pointclip_v2_b16.py \
        --cfg-options model.zero_shot_head.sentences=sentences.json

sentences.json: class name -> the sentence of this class. Those of the release are in its best_param.py; new ones are
searched in a library, class name -> list of sentences:
    python tools/search_prompts.py configs/baselines/pointclip_v2_b16.py --val ann_file=train_files.txt \
        --library library.json --fixed 0.75 0.75 0.75 --out search.json
    python tools/test.py configs/baselines/pointclip_v2_b16.py --cfg-options \
        model.zero_shot_head.sentences=search.json model.zero_shot_head.view_weights=search.json

Other CLIPs have other published weights: --cfg-options model.backbone.clip=ViT-B-32-quickgelu \
        model.zero_shot_head.view_weights=modelnet40_vit_b32
"""
_base_ = [
    '../_base_/default_runtime.py', '../_base_/models/pointclip_v2.py', '../_base_/datasets/modelnet40_1024.py']

model = _base_.pointclip_v2
projection = _base_.pointclip_v2_projection
test_dataloader = dict(
    dataset=dict(pipeline=[
        dict(type='LoadShapePoints'),
        dict(type='SelectPoints', num_points=1024),
        dict(type='ProjectPointsToDepth', projection=projection),
        dict(type='PackShapeInputs')]))
