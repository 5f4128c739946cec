"""3DETR's schedule: AdamW 5e-4, 9 epochs of warm-up from 1e-6, cosine to 1e-6, 1080 epochs, batches of 8 scenes."""
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=5e-4, weight_decay=0.1),
    clip_grad=dict(max_norm=0.1, norm_type=2))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.002, begin=0, end=9, by_epoch=True, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', eta_min=1e-6, begin=9, end=1080, T_max=1071, by_epoch=True,
         convert_to_iter_based=True)]

train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=1080, val_interval=10)
val_cfg = dict(type='ReportingValLoop')
test_cfg = dict(type='ReportingTestLoop')
auto_scale_lr = dict(enable=False, base_batch_size=8)
# As in the release, BatchNorm uses the statistics of the samples of all processes. CUDA only; ignored on the CPU.
sync_bn = 'torch'
