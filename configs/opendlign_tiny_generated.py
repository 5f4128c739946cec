"""opendlign_tiny.py on stored images of built-in objects, made by configs/generation/built_in_stand_in.py; no download.

    python tools/train.py configs/opendlign_tiny_generated.py
    python tools/test.py configs/opendlign_tiny_generated.py work_dirs/opendlign_tiny_generated/epoch_10.pth

The three commands generate only 80 objects: a smoke test. opendlign_tiny.py trains on 640.
"""
_base_ = 'opendlign_tiny.py'

images_root = 'data/built_in_aligned'
train_dataloader = dict(
    _delete_=True,
    batch_size=16,
    num_workers=2,
    persistent_workers=False,
    collate_fn=dict(type='collate_shapes'),
    drop_last=True,
    sampler=None,
    dataset=dict(
        type='DepthAlignDataset',
        data_root=images_root,
        pipeline=[dict(type='SampleViews', num_views=4), dict(type='PackShapeInputs', depth_dtype='uint8')]))
train_cfg = dict(type='StreamingTrainLoop')
