r"""OpenShape with PointBERT in the space of CLIP ViT-L-14: the published file, which wants y up.

    python tools/convert_checkpoint.py openshape model.pt openshape_l14.pth \
        --config configs/baselines/openshape_pointbert_l14.py
    python tools/test.py configs/baselines/openshape_pointbert_l14.py openshape_l14.pth

The training data of this space were never published. OpenShape's file for ViT-B-32, without a projection:
--cfg-options model.point_encoder.out_channels=None model.text_encoder.clip=ViT-B-32-quickgelu
"""
_base_ = ['../_base_/default_runtime.py', '../_base_/datasets/openshape_modelnet40.py']

model = dict(
    type='TriModalAligner',
    point_encoder=dict(type='PointPatchTransformer', scaling='l14', out_channels=768),
    text_encoder=dict(
        type='CLIPDepthBackbone', clip='ViT-L-14-quickgelu', pretrained='openai', num_blocks=0,
        pixel_mean=(0.48145466, 0.4578275, 0.40821073), pixel_std=(0.26862954, 0.26130258, 0.27577711)))

test_pipeline = [
    dict(type='LoadShapePoints', num_points=10000),
    dict(type='ArrangePoints', layout='y_up'),
    dict(type='PackPointInputs', num_points=10000)]
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))
