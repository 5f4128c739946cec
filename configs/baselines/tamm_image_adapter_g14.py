"""First stage of TAMM: the CLIP image adapter, trained on features of renderings and texts.

    python tools/train.py configs/baselines/tamm_image_adapter_g14.py

The authors take epoch 23 for the second stage (tamm_pointbert_g14.py). The released trainer has the loss of this stage
commented out; this is what its text and configuration say.
"""
_base_ = ['../_base_/default_runtime.py', '../_base_/datasets/openshape_shapenet.py']

model = dict(
    type='ImageAdapterAligner',
    image_adapter=dict(type='CLIPImageAdapter', channels=1280),
    alignment_head=dict(type='TriModalContrastiveHead', init_logit_scale=14.28))

train_pipeline = [
    # Without retrieved texts; one point, since the adapter sees no shape.
    dict(type='LoadOpenShapeObject', num_images=1, text_sources=['text', 'caption']),
    dict(type='PackPointInputs', num_points=1, use_colors=False)]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))

optim_wrapper = dict(type='OptimWrapper', optimizer=dict(type='AdamW', lr=1e-3, weight_decay=.01))
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-3, begin=0, end=20, by_epoch=True, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', begin=20, end=400, T_max=380, by_epoch=True, convert_to_iter_based=True)]
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=400)
# Nothing is tested: the adapter classifies no shapes.
test_dataloader, test_cfg, test_evaluator = None, None, None
