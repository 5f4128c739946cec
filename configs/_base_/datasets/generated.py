"""Depth views and images that tools/generate_images.py made, in either layout, streamed; ModelNet40 to test."""
_base_ = 'released_modelnet40.py'

images_root = 'data/depth_aligned'
train_dataloader = dict(
    batch_size=128,
    num_workers=8,
    # Each epoch has an order of its own, which workers learn of when they start.
    persistent_workers=False,
    drop_last=True,
    sampler=None,
    dataset=dict(
        type='DepthAlignDataset',
        data_root=images_root,
        # Objects that wait, encoded, in each of the workers; ten views and images are about half a MB.
        buffer_size=1000,
        # Objects that tools/filter_images.py did not keep are left out.
        only_kept=True,
        # Folder of tools/encode_images.py: features in the place of images.
        image_features=None,
        pipeline=[dict(type='PackShapeInputs')]))
