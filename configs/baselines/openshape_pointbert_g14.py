r"""OpenShape with PointBERT in the space of CLIP ViT-bigG-14, trained on ShapeNet and tested on ModelNet40.

    python tools/convert_checkpoint.py openshape model.pt openshape.pth \
        --config configs/baselines/openshape_pointbert_g14.py
    python tools/convert_checkpoint.py class_features cat_name_pt_feat.npy data/openshape/modelnet40_g14.npz
    python tools/test.py configs/baselines/openshape_pointbert_g14.py openshape.pth
    python tools/train.py configs/baselines/openshape_pointbert_g14.py

Class names are encoded by nothing: ViT-bigG-14 has 2.5 billion parameters, and OpenShape publishes their features. For
other names:

    --cfg-options model.class_features=None model.text_encoder._delete_=True model.text_encoder.type=CLIPDepthBackbone \
        model.text_encoder.clip=ViT-bigG-14 model.text_encoder.pretrained=laion2b_s39b_b160k \
        model.text_encoder.num_blocks=0 model.text_encoder.pixel_mean=clip model.text_encoder.pixel_std=clip
"""
_base_ = [
    '../_base_/default_runtime.py', '../_base_/datasets/openshape_shapenet.py', '../_base_/schedules/openshape.py']

model = dict(
    type='TriModalAligner',
    point_encoder=dict(type='PointPatchTransformer', scaling=4, out_channels=1280),
    alignment_head=dict(type='TriModalContrastiveHead', init_logit_scale=14.28),
    text_encoder=None,
    class_features='data/openshape/modelnet40_g14.npz')
