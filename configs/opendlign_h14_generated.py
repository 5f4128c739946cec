"""opendlign_h14.py on your own images, which tools/generate_images.py made from your shapes.

    python tools/train.py configs/opendlign_h14_generated.py --cfg-options images_root=data/depth_aligned

To encode the images once instead of in each epoch (the loss is the same up to the half precision of the features):

    python tools/encode_images.py configs/opendlign_h14_generated.py data/depth_aligned data/depth_aligned_features
    python tools/train.py configs/opendlign_h14_generated.py --cfg-options images_root=data/depth_aligned \
        train_dataloader.dataset.image_features=data/depth_aligned_features

--resume continues with the next batch, also in the middle of an epoch. For a smaller CLIP use another file of
_base_/models/. The test needs ModelNet40: see opendlign_h14.py.
"""
_base_ = [
    '_base_/default_runtime.py', '_base_/schedules/one_cycle_10e.py', '_base_/models/opendlign_h14.py',
    '_base_/datasets/generated.py']

model = _base_.opendlign
train_cfg = dict(type='StreamingTrainLoop')
default_hooks = dict(checkpoint=dict(by_epoch=False, interval=200))
