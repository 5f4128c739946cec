"""CLIP2Point's schedule of pre-training: Lamb 6e-3, cosines of two epochs each, 100 epochs of batches of 256."""
optim_wrapper = dict(type='OptimWrapper', optimizer=dict(type='Lamb', lr=6e-3, weight_decay=1e-4))
param_scheduler = [
    dict(type='CosineRestartLR', periods=[2] * 50, restart_weights=[1] * 50, eta_min=1e-5, by_epoch=True,
         convert_to_iter_based=True)]
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=100)
