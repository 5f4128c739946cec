"""CLIP2Point's schedule of its adapter: AdamW 1e-3 without a schedule, 100 epochs of batches of 32."""
optim_wrapper = dict(type='OptimWrapper', optimizer=dict(type='AdamW', lr=1e-3, weight_decay=1e-4))
param_scheduler = None
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=100)
