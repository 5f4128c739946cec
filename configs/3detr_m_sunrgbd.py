"""3DETR-m on SUN RGB-D's 10 classes: turned boxes with 12 angle bins, 128 queries, 1080 epochs.

    python tools/train.py configs/3detr_m_sunrgbd.py
    python tools/test.py configs/3detr_m_sunrgbd.py CHECKPOINT
"""
_base_ = ['_base_/default_runtime.py', '_base_/datasets/sunrgbd_3detr.py', '_base_/schedules/3detr_1080e.py']

# CheckpointGuardHook asks for a CLIP, which this model does not have.
custom_hooks = [dict(type='EpochSeedHook')]

model = dict(
    type='ThreeDETR',
    num_classes=10,
    num_angle_bins=12,
    num_queries=128,
    set_abstraction=dict(num_points=2048, radius=0.2, num_samples=64, channels=(64, 128, 256)),
    encoder=dict(
        num_layers=3,
        num_heads=4,
        feedforward_channels=128,
        dropout=0.1,
        masking_radii=(0.16, 0.64, 1.44),
        downsampling=dict(num_points=1024, radius=0.4, num_samples=32, channels=(256, 256, 256))),
    memory_layers=2,
    decoder=dict(num_layers=8, num_heads=4, feedforward_channels=256, dropout=0.1),
    # The intersection of turned boxes guides the matching only.
    criterion=dict(
        matcher=dict(cls=1., giou=3., center=5., objectness=5.),
        background_weight=0.1,
        weights=dict(cls=0.8, center=5., size=1., giou=0., angle_cls=0.1, angle_residual=0.5)))

optim_wrapper = dict(optimizer=dict(lr=7e-4))
