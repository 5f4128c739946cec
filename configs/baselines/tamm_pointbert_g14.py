"""TAMM with PointBERT: an encoder and adapters towards images and texts of CLIP ViT-bigG-14, trained on ShapeNet.

    python tools/convert_checkpoint.py tamm tamm.pt tamm.pth --config configs/baselines/tamm_pointbert_g14.py
    python tools/test.py configs/baselines/tamm_pointbert_g14.py tamm.pth
    python tools/train.py configs/baselines/tamm_pointbert_g14.py    # after tamm_image_adapter_g14.py

The released configurations say use_cia False, by which the image adapter is left out silently; the paper uses it. To
leave it out: --cfg-options model.image_adapter=None
"""
_base_ = ['../_base_/default_runtime.py', '../_base_/datasets/openshape_shapenet.py', '../_base_/schedules/tamm.py']

model = dict(
    type='TriModalAligner',
    point_encoder=dict(type='PointPatchTransformer', scaling=4, out_channels=None),
    adapters=dict(
        image=dict(
            type='AlignmentAdapter', in_channels=512, hidden_channels=1024, out_channels=1280, dropout=.5),
        text=dict(
            type='AlignmentAdapter', in_channels=512, hidden_channels=1024, out_channels=1280, dropout=.2)),
    image_adapter=dict(
        type='CLIPImageAdapter',
        channels=1280,
        # Read where a training starts.
        init_cfg=dict(
            type='Pretrained', checkpoint='work_dirs/tamm_image_adapter_g14/epoch_23.pth', prefix='image_adapter.')),
    alignment_head=dict(type='TriModalContrastiveHead', init_logit_scale=14.28),
    branch_weights=dict(text=1., image=.5),
    text_encoder=None,
    class_features='data/openshape/modelnet40_g14.npz')

train_pipeline = [
    dict(type='LoadOpenShapeObject', num_images=4),
    dict(type='ArrangePoints', layout='z_up_mirrored'),
    dict(type='AugmentPoints', up_axis='z', color_dropout=.5),
    dict(type='PackPointInputs', num_points=10000)]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
