"""A 3DETR small enough for a test, with random weights."""
import copy

import torch
from mmdet3d.registry import MODELS
from mmengine.registry import init_default_scope

TINY = dict(
    type='ThreeDETR',
    num_classes=3,
    num_queries=16,
    set_abstraction=dict(num_points=64, radius=.3, num_samples=8, channels=(16, 16, 32)),
    encoder=dict(feedforward_channels=16, masking_radii=(.4, .8, 1.2),
                 downsampling=dict(num_points=32, radius=.6, num_samples=8, channels=(32, 32))),
    decoder=dict(num_layers=2, feedforward_channels=16),
    memory_layers=2)


def tiny(seed=0, **options):
    init_default_scope('mmdet3d')
    torch.manual_seed(seed)
    return MODELS.build(dict(copy.deepcopy(TINY), **options))
