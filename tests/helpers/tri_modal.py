"""Small aligners of point encoders, their inputs, and shapes of several sizes."""
import torch
from mmdet3d.registry import MODELS
from mmengine.registry import init_default_scope

from helpers.tiny_clip import TINY_BACKBONE

DIM = 32
ENCODERS = dict(
    bert=dict(type='PointBERT', embed_dims=24, depth=2, num_heads=2, num_groups=16, group_size=4, out_channels=DIM),
    patches=dict(type='PointPatchTransformer', scaling=1, out_channels=DIM,
                 sizes=dict(embed_dims=64, depth=2, num_patches=16)),
    sparse=dict(type='SparseResNet', voxel_size=.1, out_channels=DIM, stage_channels=(4, 8), stage_blocks=(1, 1),
                joint_channels=(8, 8), head_channels=(8, 8), engine='torch'))


def tri_modal_config(encoder='patches', clip=True, adapters=False, **options) -> dict:
    model = dict(type='TriModalAligner', point_encoder=dict(ENCODERS[encoder]),
                 alignment_head=dict(type='TriModalContrastiveHead'),
                 text_encoder=dict(TINY_BACKBONE, num_blocks=0) if clip else None,
                 zero_shot_head=dict(type='ZeroShotHead', templates=['a {}'], aggregation='sum', branches='pretrained'))
    if adapters:
        channels = 64 if encoder == 'patches' else 8
        model['point_encoder']['out_channels'] = None
        model['adapters'] = {name: dict(type='AlignmentAdapter', in_channels=channels, hidden_channels=16,
                                        out_channels=DIM, dropout=rate) for name, rate in (('image', .5), ('text', .2))}
        model['image_adapter'] = dict(type='CLIPImageAdapter', channels=DIM)
    return dict(model, **options)


def tri_modal(*args, seed=0, **options) -> torch.nn.Module:
    init_default_scope('mmdet3d')
    torch.manual_seed(seed)
    return MODELS.build(tri_modal_config(*args, **options))


def triplets(batch=4, points=60, images=1, seed=0) -> dict:
    """Inputs of mode 'loss' with stored features; the last shape has no text."""
    generator = torch.Generator().manual_seed(seed)
    return dict(points=torch.rand(batch, points, 3, generator=generator) * 2 - 1,
                colors=torch.rand(batch, points, 3, generator=generator),
                image_features=torch.randn(batch, images, DIM, generator=generator),
                text_features=torch.randn(batch, DIM, generator=generator),
                has_text=torch.arange(batch) < batch - 1)
