"""OpenShape's schedule: AdamW, every 10,000 steps a lower rate, 200 objects in a batch; float32, no warm-up.

The authors trained for about 300 A100 hours and do not name the epoch of their models.
"""
optim_wrapper = dict(type='OptimWrapper', optimizer=dict(type='AdamW', lr=5e-4, weight_decay=.01))
param_scheduler = [dict(type='StepLR', step_size=10000, gamma=.967, by_epoch=False)]

train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=1000)
auto_scale_lr = dict(enable=False, base_batch_size=200)
# CUDA only; ignored on the CPU.
sync_bn = 'torch'
