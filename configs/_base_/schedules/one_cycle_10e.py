"""The paper's schedule: AdamW and one cycle with a peak of 3e-4 over 10 epochs, for 128 objects in a batch."""
optim_wrapper = dict(
    # bfloat16 forward passes, on CPU and CUDA.
    type='AutocastOptimWrapper',
    optimizer=dict(type='AdamW', lr=3e-4, betas=(0.9, 0.98), eps=1e-8, weight_decay=0.1),
    # A learnable temperature would be drawn to 1.
    constructor='NoDecayConstructor',
    paramwise_cfg=dict(without_decay=('alignment_head.logit_scale', )))
# One cycle over train_cfg.max_epochs, with a step in each iteration, of the learning rate and of beta1.
param_scheduler = [
    dict(type='OneCycleLR', eta_max=3e-4, by_epoch=True, convert_to_iter_based=True),
    dict(type='OneCycleMomentum', by_epoch=True, convert_to_iter_based=True)]

train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=10)
# --auto-scale-lr scales the peak with the batch size.
auto_scale_lr = dict(enable=False, base_batch_size=128)
