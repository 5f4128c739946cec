"""Training on the images of tools/generate_images.py, in either layout, streamed; test on ModelNet40."""
_base_ = 'released_modelnet40.py'

images_root = 'data/depth_aligned'
train_dataloader = dict(
    batch_size=128,
    num_workers=8,
    # Each epoch has its own order, which workers get when they start.
    persistent_workers=False,
    pin_memory=True,
    collate_fn=dict(type='collate_shapes'),
    drop_last=True,
    sampler=None,
    dataset=dict(
        type='DepthAlignDataset',
        data_root=images_root,
        # Shuffle buffer of each worker, in encoded objects (about 0.5 MB each).
        buffer_size=1000,
        # Skip the objects that tools/filter_images.py rejected.
        only_kept=True,
        # File with the names of the objects to train on, such as tools/filter_images.py --keep-list writes.
        keep_list=None,
        # Folder of tools/encode_images.py: features instead of images.
        image_features=None,
        pipeline=[dict(type='PackShapeInputs', depth_dtype='uint8')]))
