"""TAMM with SparseConv: an encoder and adapters towards images and texts of CLIP ViT-bigG-14, trained on ShapeNet.

The commands are those of tamm_pointbert_g14.py. Dropout is 0.5 in both adapters, whatever the released configuration
says: the released code ignores its value.
"""
_base_ = 'tamm_pointbert_g14.py'

model = dict(
    point_encoder=dict(_delete_=True, type='SparseResNet', voxel_size=.02, out_channels=None, head_channels=(1280, )),
    adapters=dict(
        image=dict(in_channels=1280, hidden_channels=1280, bias=False),
        text=dict(in_channels=1280, hidden_channels=1280, bias=False, dropout=.5)))
