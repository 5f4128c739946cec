"""3DETR-m on ScanNet's 18 classes: masked encoder, 256 queries, 1080 epochs.

    python tools/train.py configs/3detr_m_scannet.py
    python tools/test.py configs/3detr_m_scannet.py CHECKPOINT

Class-agnostic boxes instead: --cfg-options model.num_classes=1 model.class_agnostic=True
    val_evaluator.0.type=ClassAgnosticAP test_evaluator.0.type=ClassAgnosticAP
"""
_base_ = [
    '_base_/default_runtime.py', '_base_/models/3detr_m.py', '_base_/datasets/scannet_3detr.py',
    '_base_/schedules/3detr_1080e.py']

model = dict(
    num_classes=18,
    num_angle_bins=1,
    num_queries=256,
    encoder=dict(dropout=0.3),
    criterion=dict(
        matcher=dict(cls=1., giou=2.),
        background_weight=0.25,
        weights=dict(cls=1., center=5., size=1., giou=1., angle_cls=0.1, angle_residual=0.5)))
