"""TAMM's schedule of the second stage: AdamW, 1.5e-4 for each of 4 GPUs with 50 objects, warm-up, cosine."""
optim_wrapper = dict(type='OptimWrapper', optimizer=dict(type='AdamW', lr=6e-4, weight_decay=.01))
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-3, begin=0, end=10, by_epoch=True, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', begin=10, end=200, T_max=190, by_epoch=True, convert_to_iter_based=True)]

train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=200)
auto_scale_lr = dict(enable=False, base_batch_size=200)
# CUDA only; ignored on the CPU.
sync_bn = 'torch'
