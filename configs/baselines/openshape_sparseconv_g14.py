"""OpenShape with SparseConv (MinkResNet34) in the space of CLIP ViT-bigG-14, trained on ShapeNet.

The commands are those of openshape_pointbert_g14.py. On a GPU, `pip install spconv-cu124` speeds convolutions up;
without it they run in plain PyTorch.
"""
_base_ = 'openshape_pointbert_g14.py'

model = dict(point_encoder=dict(_delete_=True, type='SparseResNet', voxel_size=.02, out_channels=1280))

optim_wrapper = dict(optimizer=dict(lr=1e-3))
param_scheduler = [dict(type='StepLR', step_size=10000, gamma=.95, by_epoch=False)]
