"""PointCLIP's schedule of its adapter: SGD 0.01, one epoch of 1e-5, then a cosine, 250 epochs of batches of 32."""
optim_wrapper = dict(
    type='OptimWrapper', optimizer=dict(type='SGD', lr=0.01, momentum=0.9, weight_decay=5e-4))
param_scheduler = [
    dict(type='ConstantLR', factor=0.001, begin=0, end=1, by_epoch=True),
    dict(type='CosineAnnealingLR', eta_min=0., begin=1, end=250, T_max=249, by_epoch=True)]
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=250)
