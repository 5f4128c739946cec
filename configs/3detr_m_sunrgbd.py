"""3DETR-m on SUN RGB-D's 10 classes: rotated boxes with 12 angle bins, 128 queries, 1080 epochs.

    python tools/train.py configs/3detr_m_sunrgbd.py
    python tools/test.py configs/3detr_m_sunrgbd.py CHECKPOINT
"""
_base_ = [
    '_base_/default_runtime.py', '_base_/models/3detr_m.py', '_base_/datasets/sunrgbd_3detr.py',
    '_base_/schedules/3detr_1080e.py']

model = dict(
    num_classes=10,
    num_angle_bins=12,
    num_queries=128,
    encoder=dict(dropout=0.1),
    # The overlap of rotated boxes is used in the matching only.
    criterion=dict(
        matcher=dict(cls=1., giou=3., center=5., objectness=5.),
        background_weight=0.1,
        weights=dict(cls=0.8, center=5., size=1., giou=0., angle_cls=0.1, angle_residual=0.5)))

optim_wrapper = dict(optimizer=dict(lr=7e-4))
