"""TAMM with PointBERT, trained on ShapeNet with depth-aligned images in the place of renderings ("+dlign").

    python tools/encode_images.py configs/baselines/clip_bigg14.py data/released/shapenet data/shapenet_features_g14
    python tools/train.py configs/baselines/tamm_pointbert_g14_dlign.py
"""
_base_ = 'tamm_pointbert_g14.py'

train_dataloader = dict(dataset=dict(aligned_features='data/shapenet_features_g14'))
