"""OpenShape's training objects of ShapeNet: points, with features of texts and images by CLIP ViT-bigG-14."""
_base_ = 'openshape_modelnet40.py'

train_pipeline = [
    dict(type='LoadOpenShapeObject', num_images=1),
    dict(type='ArrangePoints', layout='z_up_mirrored'),
    dict(type='AugmentPoints', up_axis='z', color_dropout=.5),
    dict(type='PackPointInputs', num_points=10000)]
train_dataloader = dict(
    batch_size=200,
    num_workers=8,
    persistent_workers=False,
    pin_memory=True,
    collate_fn=dict(type='collate_shapes'),
    drop_last=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(
        type='OpenShapeTriplets',
        data_root='data/openshape',
        ann_file='meta_data/split/ablation/train_shapenet_only.json',
        # "+dlign": folder of tools/encode_images.py, features in the place of those of renderings.
        aligned_features=None,
        pipeline=train_pipeline,
        on_unreadable='skip'))
