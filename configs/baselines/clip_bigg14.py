"""CLIP ViT-bigG-14 alone, in whose space OpenShape and TAMM train: it encodes depth-aligned images for their "+dlign".

    python tools/encode_images.py configs/baselines/clip_bigg14.py data/released/shapenet data/shapenet_features_g14

2.5 billion parameters, 10 GB. tools/test.py classifies the depth views of ModelNet40 with it, without any training.
"""
_base_ = ['../_base_/default_runtime.py', '../_base_/datasets/modelnet40_points.py']

model = dict(
    type='OpenDlign',
    backbone=dict(
        type='CLIPDepthBackbone',
        clip='ViT-bigG-14',
        pretrained='laion2b_s39b_b160k',
        num_blocks=0,
        resize=True,
        pixel_mean=(0.48145466, 0.4578275, 0.40821073),
        pixel_std=(0.26862954, 0.26130258, 0.27577711)),
    zero_shot_head=dict(type='ZeroShotHead', templates='depth', branches='pretrained'),
    encode_batch_size=16)
